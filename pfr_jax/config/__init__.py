"""Every setting of an experiment: typed, validated, with its meaning, unit and source.

The library never reads command-line flags. ``programs/flags.py`` makes one absl flag per
field of these classes, named after the field, with the field's ``help`` as its help text.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from pfr_jax.algorithms.catalog import ALGORITHMS
from pfr_jax.config.client import ClientConfig
from pfr_jax.config.data import DataConfig
from pfr_jax.config.faults import FaultConfig
from pfr_jax.config.model import ModelConfig
from pfr_jax.config.privacy import PrivacyConfig
from pfr_jax.config.run import RunConfig
from pfr_jax.config.server import ServerConfig
from pfr_jax.config.settings import require

# Settings that change neither the numbers of a run (but for the last bits of sums over devices) nor
# what is kept of a client: a run may be resumed with others.
MAY_CHANGE = frozenset(
    "data_dir download num_devices block_size state_memory memory_limit "
    "checkpoints checkpoint_every keep_checkpoints tensorboard baselines".split()
)
# Settings that say where the ratings are and how their file is read. A run may be resumed with
# others, as long as they give the same ratings: those are compared.
READING = frozenset(
    "dataset data_dir download validation_file test_file columns separator header scale duplicates "
    "rating_range min_ratings_per_user min_ratings_per_item".split()
)
# Settings of what is looked at, and when: a run may be resumed with others from there on.
FROM_HERE_ON = frozenset({"eval_every", "attack_every", "top_k", "model_shrinkage"})


@dataclass(frozen=True)
class Config:
    """All settings of one experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    client: ClientConfig = field(default_factory=ClientConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    faults: FaultConfig = field(default_factory=FaultConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)

    def __post_init__(self) -> None:
        centralized, name = ALGORITHMS[self.run.algorithm].centralized, self.run.algorithm
        require(
            not centralized or self.data.num_clients in (0, 1),
            f"--num_clients={self.data.num_clients}: --algorithm={name} has one, leave it out",
        )
        require(
            not centralized or self.faults == FaultConfig(),
            f"--algorithm={name} has no clients that could fail; see --dropout_rate, "
            "--straggler_rate, --deadline, --over_selection and --max_update_norm",
        )
        coupling, most = self.client.coupling, ALGORITHMS[name].largest_coupling
        require(
            coupling <= most, f"--coupling={coupling}: --algorithm={name} takes at most {most:g}"
        )
        require(
            not centralized or self.client.compressor == "none",
            f"--compressor={self.client.compressor}: --algorithm={name} uploads nothing",
        )
        require(
            not centralized or not self.run.attack_every,
            f"--attack_every={self.run.attack_every}: --algorithm={name} has no uploads to attack",
        )
        self._require_upload()

    def _require_upload(self) -> None:
        """Refuses what does not go with --upload, with the reason."""
        upload, data, client, run = self.privacy.upload, self.data, self.client, self.run
        self.privacy.require_uploads(ALGORITHMS[run.algorithm], client.compressor)
        obstacles = {
            "without partial compression no row tells what was rated": (
                upload == "decoy" and not client.partial_compression
            ),
            "the negatives of --feedback=ranking are rows of other items already": (
                upload == "decoy" and data.feedback == "ranking"
            ),
            f"a client's decoys are one user's (--num_clients={data.num_clients}); take 0": (
                upload == "decoy" and data.num_clients > 0
            ),
            f"a sum needs more than half of those asked, of whom --over_selection="
            f"{self.faults.over_selection:g} wants at most half; take less than 2": (
                upload == "secure_sum" and self.faults.over_selection >= 2
            ),
        }
        if self.privacy.dp:
            obstacles |= {
                f"--denominator={self.server.denominator} divides by counts of clients, which one "
                "client changes; take expected": self.server.denominator != "expected",
                "epsilon is counted for clients that are drawn one by one; take --sampling=poisson "
                "or --cohort_fraction=1": run.sampling != "poisson" and run.cohort_fraction < 1,
                "--over_selection takes the fastest clients, which is not how cohorts are drawn": (
                    self.faults.over_selection > 1
                ),
                "--retrain would use the ratings a second time, which is not counted": run.retrain,
                "--weighting=ratings needs the exact number of ratings; take clients": (
                    client.weighting == "ratings"
                ),
                "--ridge needs the exact number of ratings; take 0 and --weight_decay": (
                    client.ridge > 0
                ),
                "--center=adaptive makes exact sums; take bias, user, global or none": (
                    data.center == "adaptive"
                ),
                f"--output_bias={self.model.output_bias} makes exact sums; take zero, or item with "
                "--feedback=ranking": self.model.output_bias != "zero"
                and (self.model.output_bias, data.feedback) != ("item", "ranking"),
                "--step_noise knows the noise of a norm that stays and of plain steps; take "
                "--clip_quantile=0 and --server_optimizer=sgd": self.privacy.step_noise > 0
                and (self.privacy.clip_quantile > 0 or self.server.server_optimizer != "sgd"),
                "--negative_sampling=popularity makes exact sums; take uniform": (
                    data.negative_sampling == "popularity"
                ),
            }
        for obstacle, holds in obstacles.items():
            hint = " (--preset=private has settings that go together)" if self.privacy.dp else ""
            require(not holds, f"--upload={upload}: {obstacle}{hint}")

    def flat(self) -> dict[str, Any]:
        """Setting name -> value, without the sections."""
        sections = (getattr(self, section.name) for section in fields(self))
        return {f.name: getattr(s, f.name) for s in sections for f in fields(s)}

    def with_settings(self, **settings: Any) -> "Config":
        """These settings and what is left of the others, whichever section they are in."""
        sections = {}
        for section in fields(self):
            before = getattr(self, section.name)
            names = {f.name for f in fields(before)} & settings.keys()
            sections[section.name] = replace(before, **{name: settings.pop(name) for name in names})
        if settings:
            raise TypeError(f"no such setting: {', '.join(settings)}")
        return Config(**sections)
