"""What a run tells of its clients, in words and numbers, for summary.json and the console."""

import math
from collections.abc import Mapping
from typing import Any

from pfr_jax.config import PrivacyConfig
from pfr_jax.privacy import accounting
from pfr_jax.privacy.accounting import Plan

# --upload -> what the server receives
SEES = {
    "plain": "every client's upload: the rows of its items, and how each of them changed",
    "decoy": "every client's upload: the rows of its items among others, and how each changed",
    "secure_sum": "the sum of a cohort's uploads over the rows of all items, and who took part",
    "dp": "the sum of a cohort's clipped uploads over the rows of all items, with noise (and, with "
    "--clip_quantile, a noised count), and who took part",
}
COUNTS = "how many of a cohort have rated each item"
# What comes out beside the sums, and is neither hidden nor noised.
BESIDES = (
    "figures on validation and test ratings, and what they select (the round, --model_shrinkage)",
    "the training loss, and how many clients took part, failed or were not taken",
    "figures of baselines, and what is written of every user (per_user.csv)",
    "what taking part costs the mean client, and how many ratings there are: their exact number",
)


def epsilon_spent(plan: Plan | None, rounds: int) -> dict[str, float | None]:
    """What so many rounds have cost a client; None: without bound; {} where nothing is noised."""
    if plan is None:
        return {}
    spent = accounting.epsilon_after(plan, rounds)
    return {"epsilon": spent if math.isfinite(spent) else None}


def facts(privacy: PrivacyConfig, plan: Plan | None, counted: bool, rounds: int) -> dict[str, Any]:
    """Of a run of so many rounds.

    ``counted``: the server divides by how many clients have an item, and so is told.
    """
    sees = [SEES[privacy.upload]]
    if plan is not None and not plan.noise_multiplier:
        sees = [SEES["dp"].replace("with noise", "without noise")]
    if privacy.upload == "secure_sum" and counted:
        sees.append(COUNTS)
    found: dict[str, Any] = {"upload": privacy.upload, "server_sees": sees}
    if plan is None:
        return found
    return {**found, **accounting.facts(plan, rounds), "released_besides": list(BESIDES)}


def sentences(found: Mapping[str, Any]) -> list[str]:
    """``facts`` for people."""
    said = [f"The server sees {' and '.join(found['server_sees'])}."]
    if "epsilon" not in found:
        return said
    if found["epsilon"] is None:
        said.append("Without noise it protects nobody: epsilon has no bound.")
    else:
        said.append(
            f"A client pays epsilon {found['epsilon']:.3g} at delta {found['delta']:.2g} for "
            f"{found['rounds']} rounds, of {found['relation']}; sampler: {found['sampler']}; "
            f"accountant: {found['accountant']}. Figures on held-out ratings, what they select, "
            "losses and counts of clients are released without noise and not counted."
        )
        if found["rate"] < 1:
            said.append(
                "That holds against whoever does not know which clients were in which cohort; to "
                "whoever makes the sums, and knows, a client in as many rounds as the mean pays "
                f"{found['epsilon_if_cohorts_are_known']:.3g}."
            )
    return said
