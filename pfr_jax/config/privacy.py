"""Settings of what leaves a client, and of what the server learns from it."""

import math
from dataclasses import dataclass
from typing import Literal

from pfr_jax.algorithms.spec import AlgorithmSpec
from pfr_jax.config.settings import option, require, require_positive


@dataclass(frozen=True)
class PrivacyConfig:
    """What the server may see of clients (docs/privacy.md)."""

    upload: Literal["plain", "decoy", "secure_sum", "dp"] = option(
        "plain",
        "What the server sees: every client's upload, and so the items it has rated and, with some "
        "arithmetic, its ratings (plain); likewise, with rows of other items and made-up "
        "ratings among them (decoy); the sum of a cohort's uploads alone (secure_sum); that "
        "sum of clipped uploads, and noise (dp: differential privacy).",
    )
    decoys_per_rating: float = option(
        1.0,
        "--upload=decoy: items that a client has not rated and trains on all the same, per item "
        "that it has rated; then as many more as make its rows a power of two. Popular items are "
        "likelier.",
    )
    epsilon: float | None = option(
        None,
        "--upload=dp: what a whole run may cost a client, at most; the noise is found. It holds "
        "for --rounds rounds.",
    )
    noise_multiplier: float | None = option(
        None,
        "--upload=dp: instead of --epsilon: standard deviation of the noise on a round's sum, "
        "over --upload_clip; 0: clipped and without noise, which protects nobody.",
    )
    release_multiplier: float | None = option(
        None,
        "--upload=dp with --noise_multiplier: likewise of the noise on the sums before the first "
        "round (--center); unset: what makes them cost their share of a run of --rounds rounds.",
    )
    delta: float = option(
        0.0, "--upload=dp: the chance with which epsilon need not hold; 0: N^-1.1 of N clients."
    )
    upload_clip: float = option(
        0.05, "--upload=dp: a client's weighted change is scaled to this norm at most."
    )
    clip_quantile: float = option(
        0.0,
        "--upload=dp: --upload_clip is where it begins, and then follows this quantile of the "
        "clients' norms, by noised counts in the same budget; 0: it stays.",
    )
    bias_weight: float = option(
        0.0,
        "--upload=dp: weight of the items' biases before clipping, taken off after (rows of "
        "matrices: 1); 0: they are not uploaded and stay as they began.",
    )
    hidden_weight: float = option(
        0.0, "--upload=dp: likewise of everything that belongs to no item."
    )
    step_noise: float = option(
        0.0,
        "--upload=dp: --server_learning_rate is lowered until the noise in a step of a row's "
        "numbers has at most this standard deviation (before --server_momentum); 0: it is not.",
    )
    effects_share: float = option(
        0.3,
        "--upload=dp: share of the budget for the mean and the items' effects (--center); the "
        "rest is the rounds'.",
    )
    effects_releases: int = option(
        3, "--upload=dp: noised sums over all clients that those are found by (--center=bias)."
    )

    def __post_init__(self) -> None:
        require_positive(self, "decoys_per_rating", "upload_clip", "effects_releases")
        for name in ("bias_weight", "hidden_weight", "step_noise"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"--{name}={value}: must be 0 or more, and finite")
        require(0 <= self.delta < 1, f"--delta={self.delta}: must lie in [0, 1)")
        require(
            0 <= self.clip_quantile < 1,
            f"--clip_quantile={self.clip_quantile}: must lie in [0, 1)",
        )
        require(
            0 < self.effects_share < 1,
            f"--effects_share={self.effects_share}: must lie between 0 and 1",
        )
        dp, given = self.upload == "dp", [self.epsilon, self.noise_multiplier]
        require(
            dp or given == [None, None],
            "--epsilon and --noise_multiplier: only with --upload=dp",
        )
        require(
            not dp or given.count(None) == 1,
            "--upload=dp: give either --epsilon or --noise_multiplier",
        )
        require(self.epsilon is None or 0 < self.epsilon < math.inf, "--epsilon: must be positive")
        require(
            self.noise_multiplier is None or 0 <= self.noise_multiplier < math.inf,
            "--noise_multiplier: must be 0 or more, and finite",
        )
        multiplier = self.release_multiplier
        require(
            multiplier is None
            or (self.noise_multiplier is not None and 0 <= multiplier < math.inf),
            f"--release_multiplier={multiplier}: 0 or more, beside --noise_multiplier",
        )
        require(
            not multiplier or self.noise_multiplier != 0,
            f"--release_multiplier={multiplier}: --noise_multiplier=0 says that there is no noise "
            "anywhere; leave it out",
        )

    def require_uploads(self, algorithm: AlgorithmSpec, compressor: str) -> None:
        """Raises InputError where such clients upload nothing, or what no sum can be made of.

        ``compressor`` is the name of what encodes uploads; "none": nothing does.
        """
        uploads = bool(algorithm.shared) and not algorithm.centralized
        require(
            self.upload == "plain" or uploads,
            f"--upload={self.upload}: --algorithm={algorithm.name} uploads nothing",
        )
        require(
            not self.hides_clients or compressor == "none",
            f"--upload={self.upload}: sums cannot be made of encoded uploads "
            f"(--compressor={compressor})",
        )

    @property
    def dp(self) -> bool:
        """Sums are clipped and noised."""
        return self.upload == "dp"

    @property
    def hides_clients(self) -> bool:
        """The server receives sums over a cohort, and of no single client anything."""
        return self.upload in ("secure_sum", "dp")
