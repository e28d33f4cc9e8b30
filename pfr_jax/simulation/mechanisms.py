"""What becomes of a cohort's uploads on their way to the server, by the settings."""

import dataclasses

from pfr_jax.config import Config, ServerConfig
from pfr_jax.errors import InputError
from pfr_jax.models.item_rows import Tree
from pfr_jax.privacy.accounting import Plan
from pfr_jax.privacy.mechanism import Mechanism

MOST_ROUNDING = 0.5  # share of the clipping norm that rounding may take of a client's change


def check_sums(
    config: Config, cohort_size: int, mechanism: Mechanism | None, shared: Tree, rows: int
) -> None:
    """Raises InputError where a sum would be a client's upload, or a client's upload nothing.

    ``shared`` are the shapes of the shared part, ``rows`` the most items of a client.
    """
    if config.privacy.upload == "secure_sum" and cohort_size < 2:
        raise InputError(
            f"--cohort_fraction={config.run.cohort_fraction:g}: a cohort is one client, and with "
            "--upload=secure_sum the sum its upload; raise the fraction"
        )
    lost = mechanism.lost_by_rounding(shared, rows) if mechanism else 0.0
    if mechanism and lost > MOST_ROUNDING * mechanism.clip:
        raise InputError(
            f"--deterministic_sum: rounding takes {lost:.2g} of --upload_clip={mechanism.clip:g} "
            f"from a client of {rows} items, whose change is little more than nothing then; raise "
            "the norm, or leave --deterministic_sum out"
        )


def mechanism_of(
    config: Config, num_clients: int, plan: Plan, fixed_point: float | None
) -> Mechanism:
    """How clients clip and how their sum is noised, for what ``plan`` pays."""
    privacy = config.privacy
    return Mechanism(
        clip=privacy.upload_clip,
        noise_multiplier=plan.noise_multiplier,
        bias_weight=privacy.bias_weight,
        hidden_weight=privacy.hidden_weight,
        quantile=privacy.clip_quantile,
        quantile_multiplier=plan.quantile_multiplier,
        expected=config.run.cohort_fraction * num_clients,
        fixed_point=fixed_point,
    )


def quieter(server: ServerConfig, mechanism: Mechanism | None, most: float) -> ServerConfig:
    """With a rate by which the noise of a step stays below ``most``; 0: as it is."""
    if mechanism is None or not most or not mechanism.noise_multiplier:
        return server
    noise = mechanism.noise_multiplier * mechanism.clip / mechanism.expected
    rate = min(server.server_learning_rate, most / noise)
    return dataclasses.replace(server, server_learning_rate=rate)
