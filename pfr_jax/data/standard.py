"""How targets become numbers around 0 of size 1 before a model sees them, and stars again after.

What is subtracted and divided by is learned in the federation's own way. The global mean, the
effects of items and the scale are sums over clients, made before the first round and counted in the
ledger; what belongs to a user stays on its client. Where the unit of the ratings changes, or where
0 lies, the model sees the same numbers.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pfr_jax.data.effects import SWEEPS, FindEffects, Residuals, adaptive_effects, fixed_effects

Center = Literal["none", "global", "user", "bias", "adaptive"]
# Those with effects of items, and what finds them.
EFFECTS: dict[str, FindEffects] = {"bias": fixed_effects, "adaptive": adaptive_effects}
MEAN_SHRINKAGE = 5  # ratings; the user's own mean, less the global one, is sum / (n + 5)


@dataclass(frozen=True, eq=False)
class Standard:
    """Standardised value = (target - user's part - item's part) / scale."""

    user: np.ndarray  # f64[U]; known to the user's client alone, but for the global mean in it
    item: np.ndarray  # f64[I]; public
    scale: float  # public
    # Public: the mean of all ratings (0 where none is subtracted), and the ratings of weight 0 with
    # which a user's part is shrunk towards it
    mean: float = 0.0
    user_shrinkage: float = 0.0
    item_effects: bool = False  # whether items have effects, or all have part 0

    def center(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """What is subtracted from the targets of pairs i[n], i[n]: f64[n]."""
        return self.user[user] + self.item[item]

    def values(self, target: np.ndarray, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Targets f64[n] of pairs -> what a model sees, f64[n]."""
        return (target - self.center(user, item)) / self.scale

    def targets(self, values: np.ndarray, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """The inverse: a model's outputs f64[n] for pairs -> targets, f64[n]."""
        return values * self.scale + self.center(user, item)

    def of_new_user(self, target: np.ndarray, item: np.ndarray) -> float:
        """The user's part for somebody with these targets f64[n] of items i[n], who trained not."""
        if not self.user_shrinkage:
            return self.mean
        left = target - self.mean - self.item[item]
        return self.mean + float(left.sum()) / (len(left) + self.user_shrinkage)


def nothing_subtracted(num_users: int, num_items: int) -> Standard:
    """The standardisation that leaves targets as they are."""
    return Standard(np.zeros(num_users), np.zeros(num_items), 1.0)


def fit_standard(
    user: np.ndarray,
    item: np.ndarray,
    target: np.ndarray,
    trained: np.ndarray,
    size: tuple[int, int],
    center: Center,
    scaled: bool,
) -> Standard:
    """The standardisation of the ratings that lie on clients.

    Args:
      user: i[n], whose rating.
      item: i[n], of what.
      target: f64[n].
      trained: bool[n], of users who take part in training; sums are over these alone.
      size: U and I.
      center: "none": nothing is subtracted (the paper); "global": the mean; "user": the user's own
        mean, shrunk towards it; "bias": what bias-only predicts; "adaptive": likewise, with
        shrinkage learned from the ratings.
      scaled: divide by the root mean square of what is left.

    Returns:
      The standardisation; its scale is 1 if nothing is left.
    """
    num_users, num_items = size
    mean, shrinkage = 0.0 if center == "none" else float(target[trained].mean()), 0.0
    of_user, of_item = np.full(num_users, mean), np.zeros(num_items)
    if center == "user":
        count = np.bincount(user, minlength=num_users)
        offset = np.bincount(user, target - mean, minlength=num_users)
        of_user, shrinkage = of_user + offset / (count + MEAN_SHRINKAGE), MEAN_SHRINKAGE
    if center in EFFECTS:
        residual = target - mean
        train = user[trained], item[trained], residual[trained]
        effects = EFFECTS[center](Residuals.of(*train, num_users, num_items))
        of_item, shrinkage = effects.item, effects.user_shrinkage
        of_user = of_user + effects.of_users(user, residual - of_item[item])
    plain = Standard(of_user, of_item, 1.0, mean, shrinkage, center in EFFECTS)
    if not scaled:
        return plain
    left = plain.values(target, user, item)[trained]
    return replace(plain, scale=float(np.sqrt(np.mean(left**2))) or 1.0)


def sums_per_row(center: str) -> tuple[int, int]:
    """Numbers that a client sends up and is sent down per item of its own, before the first round.

    With effects of items: in every sweep a sum up and an effect down, and once how many rated the
    item.
    """
    return (SWEEPS + 1, SWEEPS) if center in EFFECTS else (0, 0)


def sums_per_client(center: str, scaled: bool) -> tuple[int, int]:
    """Likewise per client: a sum and a count up and their quotient down, for mean and scale.

    "adaptive": besides, the squared rest up, and in every sweep that and the squared effect up, the
    users' shrinkage and the noise down.
    """
    sums = int(center != "none") + int(scaled)
    if center != "adaptive":
        return 2 * sums, sums
    return 2 * sums + 2 * SWEEPS + 1, sums + 2 * SWEEPS


def waiting_sums(center: str, scaled: bool) -> int:
    """Secure sums of numbers of clients alone, which cannot be made beside those of rows.

    The scale is of what the centre leaves; "adaptive": the users' shrinkage needs what the last
    sweep leaves. (The mean goes with the first sum of rows, from which it can be taken away.)
    """
    return int(scaled and center != "none") + int(center == "adaptive")
