"""Errors of predicted ratings. T held-out ratings, U users; stars; computed in float64."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figures:
    """Errors over one held-out part, in stars."""

    rmse: float  # over all held-out ratings
    rmse_per_user: float  # mean of the users' RMSE, weighted by their held-out ratings (paper)
    mae: float  # over all held-out ratings


def rating_figures(user: np.ndarray, rating: np.ndarray, prediction: np.ndarray) -> Figures:
    """Figures for user i[T], rating f[T] and prediction f[T]; at least one rating."""
    error = prediction.astype(np.float64) - rating
    count = np.bincount(user)
    user_rmse = np.sqrt(np.bincount(user, error**2) / np.maximum(count, 1))
    return Figures(
        rmse=float(np.sqrt(np.mean(error**2))),
        rmse_per_user=float(np.average(user_rmse, weights=count)),
        mae=float(np.mean(np.abs(error))),
    )


def errors_by_user(
    user: np.ndarray, rating: np.ndarray, prediction: np.ndarray, num_users: int
) -> dict[str, np.ndarray]:
    """``rmse`` and ``mae`` of each user, f64[U]; NaN for users without held-out ratings."""
    error = prediction.astype(np.float64) - rating
    count = np.bincount(user, minlength=num_users)
    with np.errstate(invalid="ignore"):
        squared = np.bincount(user, error**2, minlength=num_users) / count
        absolute = np.bincount(user, np.abs(error), minlength=num_users) / count
    return {"rmse": np.sqrt(squared), "mae": absolute}
