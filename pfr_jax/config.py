"""Every setting of an experiment: typed, validated, with its meaning, unit and source.

The library never reads command-line flags. ``programs/flags.py`` makes one absl flag per
field of these classes, named after the field, with the field's ``help`` as its help text.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pfr_jax.algorithms.catalog import ALGORITHMS, PERSONALFR
from pfr_jax.client.compressors import COMPRESSORS
from pfr_jax.data.examples import Sampling
from pfr_jax.data.standard import Center
from pfr_jax.errors import InputError

Momentum = Literal["carry", "restart"]


# Settings that change neither the numbers of a run (but for the last bits of sums over devices) nor
# what is kept of a client: a run may be resumed with others.
MAY_CHANGE = frozenset(
    "data_dir download num_devices block_size state_memory memory_limit "
    "checkpoints checkpoint_every keep_checkpoints baselines".split()
)
# Settings that say where the ratings are and how their file is read. A run may be resumed with
# others, as long as they give the same ratings: those are compared.
READING = frozenset(
    "dataset data_dir download validation_file test_file columns separator header scale duplicates "
    "rating_range min_ratings_per_user min_ratings_per_item".split()
)
# Settings of what is looked at, and when: a run may be resumed with others from there on.
FROM_HERE_ON = frozenset({"eval_every", "top_k", "model_shrinkage"})


def option(default: Any, help: str, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field with a default, the help text its flag will show and, where its type does
    not say so, the values it can have.
    """
    return field(default=default, metadata={"help": help, "choices": choices})


def require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def require_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(0 < value < math.inf, f"--{name}={value}: must be positive and finite")


def require_seed(config: object, name: str) -> None:
    """JAX keys hold 32 bits: a larger seed would silently be another one."""
    value = getattr(config, name)
    require(0 <= value < 2**32, f"--{name}={value}: must lie in [0, 2**32)")


@dataclass(frozen=True)
class DataConfig:
    """Which ratings, which users, how they are split and dealt to clients."""

    dataset: str = option("synthetic", "A named source, or the path of a ratings file.")
    download: bool = option(True, "Download a named source that is not in --data_dir.")
    data_dir: str = option(
        "",
        "Folder that holds the data sets' folders; empty: $PFR_DATA_DIR, else the user's cache.",
    )
    columns: tuple[str, ...] = option(
        (),
        "User, item and rating columns of a ratings file of one's own and, if a fourth is given, "
        "that of the time, comma-separated: names (the file has a header) or positions counted "
        "from 0 (see --header); user and item alone where every row is a choice (ranking). Empty: "
        "user,item,rating, or 0,1,2 for .dat, .data and .txt files.",
    )
    separator: str = option(
        "",
        r"What stands between the fields of a ratings file of one's own: one character, such as ; "
        r"or | or \t, or ::, or the word spaces (any run of blanks). Empty: what is usual for the "
        "kind of file, else what fits its first line.",
    )
    header: Literal["auto", "yes", "no"] = option(
        "auto",
        "Whether the first line of a ratings file of one's own names its columns. auto: if "
        "--columns are names.",
    )
    duplicates: Literal["error", "first", "last", "mean"] = option(
        "error",
        "What becomes of an item that a user rates again: an error, or one rating is kept: the "
        "first or last by the time column where there is one (see --columns), else by line, or "
        "the mean.",
    )
    rating_range: tuple[float, ...] = option(
        (),
        "Lowest and highest rating to keep, as in 1,10; ratings outside, such as a 0 or -1 that "
        "marks something else, are dropped and counted. Empty: all.",
    )
    min_ratings_per_user: int = option(
        0,
        "Drop users with fewer ratings, and count again until nothing changes (before --num_users "
        "takes its sample, which may leave items with fewer); 0: none.",
    )
    min_ratings_per_item: int = option(0, "Likewise for items.")
    scale: tuple[float, ...] = option(
        (),
        "Lowest and highest rating of a file of one's own and, if it has one, the step between "
        "ratings, as in 0.5,5,0.5. Empty: the lowest and highest rating in the file.",
    )
    feedback: Literal["explicit", "implicit", "ranking"] = option(
        "explicit",
        "Predict stars (squared error), whether a rating is positive (binary cross entropy), or "
        "rank all items by whether they will be chosen (positives, and drawn negatives).",
    )
    implicit_threshold: float | None = option(
        None,
        "Stars from which a rating is positive (implicit, ranking); unset: the source's "
        "own (MovieLens 3.5, Anime 8), in ranking else any.",
    )
    user_profile: bool = option(
        False,
        "Encode the user's age, gender and occupation too (ml100k, ml1m), with a second encoder "
        "that is averaged with the decoder.",
    )
    num_users: int = option(0, "Simulate this many users, a seeded sample; 0: all.")
    num_clients: int = option(
        0,
        "Deal the users at random to this many clients; 0: one client per user (joint: one that "
        "holds all).",
    )
    validation_fraction: float = option(
        0.05, "Share of all ratings held out for validation (the paper: 0)."
    )
    test_fraction: float = option(0.10, "Share of all ratings held out for the test (paper: 0.1).")
    validation_file: str = option(
        "",
        "Path of validation ratings of one's own, in the format of --dataset, which then is the "
        "training file.",
    )
    test_file: str = option(
        "",
        "Path of test ratings of one's own. With --validation_file or --test_file nothing is "
        "split at random.",
    )
    holdout_users: float = option(
        0.0,
        "Share of the users who never take part in training. At the end they are tested with "
        "the encoder that everybody started from, and after --adaptation_epochs.",
    )
    split_seed: int = option(
        0, "Seed of the split, of the sample of users and of synthetic data; not of training."
    )
    negatives: int = option(
        4,
        "--feedback=ranking: items that a client has not rated and takes as not chosen, per "
        "positive; drawn from --seed.",
    )
    negatives_drawn: Literal["once", "each_round"] = option(
        "once",
        "--feedback=ranking: whether a client draws them before the first round, or others in "
        "every round that it takes part in. Then no client may keep anything of their rows.",
    )
    negative_sampling: Sampling = option(
        "uniform",
        "--feedback=ranking: every unrated item alike, or in proportion to how many chose it.",
    )
    ranking_loss: Literal["bce", "multinomial", "bpr"] = option(
        "bce",
        "--feedback=ranking: each of a client's items by itself (binary cross entropy), each "
        "positive against all of them (a softmax), or each negative against a positive (the "
        "logistic loss of the difference).",
    )
    center: Literal["auto", Center] = option(
        "auto",
        "What is subtracted from ratings before the model sees them and added back after: "
        "auto (adaptive for stars, user for implicit feedback, global for ranking), "
        "nothing (the paper), the mean of all training ratings, the user's own mean shrunk "
        "towards it, which stays on the client, or what bias-only predicts (stars only): effects "
        "of items by ten secure sums before the first round, the user's own on the client; "
        "adaptive: likewise, shrunk as far as the ratings themselves ask for. "
        "Implicit feedback: subtracted from the inputs 0 and 1; logits are left as they are.",
    )
    standardize: bool = option(
        True,
        "Divide what is left of stars by its root mean square (a secure sum), so that the unit of "
        "the ratings does not matter (paper: no).",
    )

    def __post_init__(self) -> None:
        require(
            len(self.columns) in (0, 2, 3, 4),
            f"--columns={','.join(self.columns)}: want three columns, four with the time, or user "
            "and item alone",
        )
        require(
            len(self.rating_range) in (0, 2),
            f"--rating_range={','.join(map(str, self.rating_range))}: want low,high",
        )
        for name in ("min_ratings_per_user", "min_ratings_per_item"):
            value = getattr(self, name)
            require(value >= 0, f"--{name}={value}: 0 (keep all) or more")
        require(
            len(self.scale) in (0, 2, 3),
            f"--scale={','.join(map(str, self.scale))}: want low,high or low,high,step",
        )
        require(self.num_users >= 0, f"--num_users={self.num_users}: 0 (all) or more")
        require(
            self.num_clients >= 0, f"--num_clients={self.num_clients}: 0 (one per user) or more"
        )
        require(
            0 <= self.holdout_users < 1,
            f"--holdout_users={self.holdout_users}: want a share from 0 up to, not with, 1",
        )
        require(
            self.feedback != "explicit" or self.implicit_threshold is None,
            f"--implicit_threshold={self.implicit_threshold}: only with --feedback=implicit or "
            "ranking",
        )
        require_positive(self, "negatives")
        of_ranking = "negatives", "negatives_drawn", "negative_sampling", "ranking_loss"
        defaults = {setting.name: setting.default for setting in fields(DataConfig)}
        for name in of_ranking:
            value = getattr(self, name)
            require(
                self.feedback == "ranking" or value == defaults[name],
                f"--{name}={value}: only with --feedback=ranking",
            )
        require_seed(self, "split_seed")

    @property
    def redraws(self) -> bool:
        """Clients draw negatives in every round."""
        return self.negatives_drawn == "each_round"


@dataclass(frozen=True)
class ModelConfig:
    """The model (paper: one autoencoder I -> 256 -> 128 -> 256 -> I, dropout 0.5 on the code)."""

    model: Literal["autoencoder", "mf"] = option(
        "autoencoder",
        "autoencoder: the paper's; mf: biased matrix factorisation, a private vector and bias per "
        "user and a shared table of items (one user per client).",
    )
    hidden_sizes: tuple[int, ...] = option(
        (64, 32),
        "Widths of the encoder's layers, the code last; the decoder mirrors them. mf: the last is "
        "the width of its vectors.",
    )
    members: int = option(
        4,
        "Models of this kind side by side on every client, each with a beginning, dropout and loss "
        "of its own; their predictions are averaged. Bytes and state are theirs together.",
    )
    dropout: float = option(0.2, "Dropout rate on the code (paper: 0.5).")
    input_offset: float = option(
        2.0,
        "Added to each centred rating that the encoder is given (paper: 0), so that it is told "
        "which items were rated, and not only how far from the centre.",
    )
    output_bias: Literal["zero", "mean", "item"] = option(
        "zero",
        "Start of the output layer's bias: 0 (the paper), the mean training target (implicit: "
        "its logit), or each item's own, shrunk towards that. The item's needs a secure sum of the "
        "clients' centred ratings before the first round, which is counted as traffic.",
    )

    def __post_init__(self) -> None:
        require(
            len(self.hidden_sizes) >= 1 and min(self.hidden_sizes) >= 1,
            f"--hidden_sizes={','.join(map(str, self.hidden_sizes))}: one or more positive widths",
        )
        require(
            math.isfinite(self.input_offset), f"--input_offset={self.input_offset}: must be finite"
        )
        require_positive(self, "members")
        require(0 <= self.dropout < 1, f"--dropout={self.dropout}: must lie in [0, 1)")


@dataclass(frozen=True)
class ClientConfig:
    """Local training (paper: SGD 0.1, Nesterov 0.9, decay 5e-4, clip 1, 5 local epochs)."""

    client_optimizer: Literal["sgd", "adam", "adagrad", "rmsprop"] = option(
        "sgd", "Optimizer of the clients' local steps."
    )
    client_learning_rate: float = option(0.1, "Learning rate of the first round's local steps.")
    schedule: Literal["cosine", "constant"] = option(
        "cosine", "Learning rate over the rounds: cosine annealing to 0 (paper) or constant."
    )
    momentum: float = option(
        0.0, "Momentum of the client's SGD (paper: 0.9); without it a client keeps half as much."
    )
    nesterov: bool = option(True, "Nesterov momentum in the client's SGD.")
    weight_decay: float = option(
        0.0, "L2 coefficient; the decay is added to the clipped gradient (paper: 5e-4)."
    )
    ridge: float = option(
        0.4,
        "L2 penalty in ratings, beside the sum over a client's ratings, so that it follows the "
        "density of the data: this over the training ratings of the mean user is added to "
        "--weight_decay (paper: 0).",
    )
    private_rate_factor: float = option(
        0.5, "The private part's learning rate is --client_learning_rate times this (paper: 1)."
    )
    decay_biases: bool = option(True, "Weight decay on biases and norms too (the paper).")
    clip_norm: float = option(
        1.0, "Gradients are clipped to this global norm, over all parameters; 0: no clipping."
    )
    local_epochs: int = option(
        5,
        "Passes over its own users that a client makes in a round (fedalt, fedrecon: with the "
        "private part frozen).",
    )
    private_epochs: int = option(
        5, "fedalt, fedrecon: passes before those, in which only the private part moves."
    )
    proximal: float = option(
        0.0,
        "FedProx: weight of the shared part's distance from where the round began, in the "
        "client's loss.",
    )
    coupling: float = option(
        0.1,
        "ditto: weight of the distance of a client's own model from the shared one; apfl: the "
        "shared model's share in the mixture.",
    )
    weighting: Literal["clients", "ratings"] = option(
        "ratings",
        "What weighs alike in training: clients, whose loss is the mean over their ratings (the "
        "paper), or ratings: that loss times the client's ratings per user over the mean of all, "
        "before clipping.",
    )
    batch_size: int = option(10, "Users per local step, at most (paper: 10; 5 for ML-100K).")
    partial_compression: bool = option(
        True,
        "Compute and transmit only the shared rows of items that the client has rated; off: "
        "every client trains, decays and transmits every row.",
    )
    compressor: str = option(
        "none",
        "What makes uploads of weight matrices smaller: the largest entries (topk), a byte per "
        "entry (int8), or a product of two narrow matrices (lowrank). topk and lowrank: what is "
        "lost stays on the client and is added to its next upload (but not with fedrecon: its "
        "clients keep nothing).",
        choices=tuple(COMPRESSORS),
    )
    topk_share: float = option(0.1, "--compressor=topk: share of the entries that is sent.")
    lowrank_rank: int = option(4, "--compressor=lowrank: width of the two matrices.")
    private_momentum: Momentum = option(
        "carry", "Optimizer state of the private part between a client's rounds (paper: carry)."
    )
    shared_momentum: Momentum = option(
        "restart",
        "Optimizer state of the client's copy of the shared part (paper: carry). Restarted, a "
        "client keeps half as much, and learns as well with the default denominator.",
    )
    engine: Literal["auto", "factored", "active_rows"] = option(
        "auto",
        "How clients are computed, not what: exact low-rank training (SGD, one user per client), "
        "the rows of a client's items (anything), or the first where it is exact.",
    )
    state_dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "Type in which the factored engine keeps matrices between rounds (16 bits: rounded "
        "stochastically). auto: float32 unless all clients together would need more than 4 GiB.",
    )
    state_memory: Literal["auto", "device", "host"] = option(
        "auto",
        "Where the factored engine keeps clients between rounds: on the devices, or in the "
        "machine's own memory, from which a round takes its cohort's. auto: the devices if all "
        "clients fit there.",
    )
    block_size: int = option(
        0, "Clients trained at once; changes speed, not results. 0: what suits the engine."
    )
    max_buckets: int = option(
        0,
        "Most block shapes (lengths that clients are padded to) to compile; at least one for "
        "each number of minibatches that clients have. 0: 4, or 6 from 10,000 users on.",
    )

    def __post_init__(self) -> None:
        positive = "client_learning_rate", "private_rate_factor", "local_epochs", "batch_size"
        require_positive(self, *positive, "private_epochs", "lowrank_rank")
        require(
            self.compressor in COMPRESSORS,
            f"--compressor={self.compressor}: want one of {', '.join(COMPRESSORS)}; a record of "
            "one's own is given to prepare()",
        )
        require(0 < self.topk_share <= 1, f"--topk_share={self.topk_share}: must lie in (0, 1]")
        finite = (
            "weight_decay",
            "ridge",
            "proximal",
            "coupling",
            "clip_norm",
            "block_size",
            "max_buckets",
        )
        for name in finite:
            value = getattr(self, name)
            require(0 <= value < math.inf, f"--{name}={value}: must be 0 or more, and finite")
        require(0 <= self.momentum < 1, f"--momentum={self.momentum}: must lie in [0, 1)")


@dataclass(frozen=True)
class ServerConfig:
    """Aggregation of the shared part (paper: the plain mean, i.e. SGD with rate 1)."""

    server_optimizer: Literal["sgd", "adam"] = option(
        "sgd", "Optimizer applied to the mean of the clients' changes."
    )
    server_learning_rate: float = option(
        1.4,
        "Its learning rate; SGD with 1 and no momentum is the plain mean (the paper). Adam wants "
        "about a hundredth of that.",
    )
    server_momentum: float = option(0.8, "Momentum of the server's SGD (paper: 0).")
    denominator: Literal["clients", "contributors", "sqrt"] = option(
        "sqrt",
        "What the sum of an item row's changes is divided by: the C clients of the cohort (the "
        "paper), the n clients that hold the row, or sqrt(C n).",
    )
    deterministic_sum: bool = option(
        False,
        "Round every client's changes to a fixed point (int32) before they are summed: the same "
        "bits on any number of devices and processes. A change beyond 4 is cut to that, and a "
        "loss in the log to 64.",
    )

    def __post_init__(self) -> None:
        require_positive(self, "server_learning_rate")
        require(
            0 <= self.server_momentum < 1,
            f"--server_momentum={self.server_momentum}: must lie in [0, 1)",
        )


@dataclass(frozen=True)
class FaultConfig:
    """Clients that do not deliver, and updates that are not taken."""

    dropout_rate: float = option(
        0.0, "Share of the clients asked that never come back with an update."
    )
    straggler_rate: float = option(
        0.0, "Share of the clients asked that are slow: by the factor 1/u, u uniform in (0, 1]."
    )
    deadline: float = option(
        2.0,
        "A round ends after this time, and later updates are lost; an ordinary client needs 0.5 "
        "to 1.5. 0: it waits for all.",
    )
    over_selection: float = option(
        1.0, "A round asks this many times the clients it needs, and takes the first it needs."
    )
    max_update_norm: float = option(
        0.0,
        "An update of a larger global norm is not taken (one that is not finite never is); 0: any.",
    )

    def __post_init__(self) -> None:
        for name in ("dropout_rate", "straggler_rate"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"--{name}={value}: must lie in [0, 1]")
        for name in ("deadline", "max_update_norm"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"--{name}={value}: must be 0 or more, and finite")
        factor = self.over_selection
        require(1 <= factor < math.inf, f"--over_selection={factor}: must be 1 or more, and finite")


@dataclass(frozen=True)
class RunConfig:
    """The round loop."""

    algorithm: str = option(
        PERSONALFR.name,
        "; ".join(f"{spec.name}: {spec.description}" for spec in ALGORITHMS.values()) + ".",
        choices=tuple(ALGORITHMS),
    )
    rounds: int = option(300, "Communication rounds (paper: 800).")
    cohort_fraction: float = option(0.1, "Share of the clients in a round, rounded up.")
    seed: int = option(0, "Seed of initial weights, cohorts and the clients' randomness.")
    eval_every: int = option(10, "Rounds between evaluations on the validation split.")
    retrain: bool = option(
        False,
        "After the run, train once more from the start on training and validation ratings, for "
        "the number of rounds that validation selected.",
    )
    adaptation_epochs: int = option(
        5,
        "Local epochs in which the private part of a held-out user (--holdout_users) is fitted "
        "to its own ratings against the frozen shared part, at --client_learning_rate.",
    )
    model_shrinkage: float | None = option(
        None,
        "Stars: a client counts the model's part of a prediction, which is added to its centre "
        "(--center), n / (n + this) times, n its user's training ratings. Unset: what is best on "
        "the validation split, found anew at every evaluation; 0 where there is none.",
    )
    clip_predictions: bool = option(
        True, "Clip predictions to the rating scale when measuring errors (paper: no)."
    )
    num_devices: int = option(
        0,
        "Devices among which the clients are divided; 0: all there are, on a CPU one per core.",
    )
    memory_limit: float = option(
        0.0, "GiB of memory that the run may take before it is refused; 0: what is there."
    )
    checkpoints: bool = option(
        True, "Write checkpoints, from which --resume goes on; also when asked to stop (SIGTERM)."
    )
    checkpoint_every: int = option(
        0,
        "Rounds between checkpoints, the last round included; 0: as often as a twentieth of the "
        "time allows, at most once a minute, and after the last round if that takes less than a "
        "tenth of the run's time.",
    )
    keep_checkpoints: int = option(2, "How many of them are kept, the last ones.")
    top_k: int = option(
        10,
        "Implicit feedback and ranking: length of the lists that figures look at (paper: 10).",
    )
    baselines: Literal["auto", "simple", "all"] = option(
        "auto",
        "Baselines beside the results: means, effects and popularity alone (simple), or the "
        "centralised ones too (item-kNN; Bayesian factorisation, or EASE and iALS), which are "
        "computed once per split and kept. auto: all up to a million training ratings.",
    )

    def __post_init__(self) -> None:
        require(
            self.algorithm in ALGORITHMS,
            f"--algorithm={self.algorithm}: want one of {', '.join(ALGORITHMS)}; a record of one's "
            "own is given to prepare()",
        )
        positive = "rounds", "eval_every", "adaptation_epochs", "top_k", "keep_checkpoints"
        require_positive(self, *positive)
        shrinkage = self.model_shrinkage
        require(
            shrinkage is None or 0 <= shrinkage < math.inf,
            f"--model_shrinkage={shrinkage}: must be 0 or more, and finite",
        )
        every = self.checkpoint_every
        require(every >= 0, f"--checkpoint_every={every}: a number of rounds, or 0")
        require(
            0 <= self.memory_limit < math.inf,
            f"--memory_limit={self.memory_limit}: must be 0 or more, and finite",
        )
        require(self.num_devices >= 0, f"--num_devices={self.num_devices}: 0 (all) or more")
        require(
            0 < self.cohort_fraction <= 1,
            f"--cohort_fraction={self.cohort_fraction}: must lie in (0, 1]",
        )
        require_seed(self, "seed")


@dataclass(frozen=True)
class Config:
    """All settings of one experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    client: ClientConfig = field(default_factory=ClientConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    faults: FaultConfig = field(default_factory=FaultConfig)

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

    def flat(self) -> dict[str, Any]:
        """Setting name -> value, without the sections."""
        sections = (getattr(self, section.name) for section in fields(self))
        return {f.name: getattr(s, f.name) for s in sections for f in fields(s)}
