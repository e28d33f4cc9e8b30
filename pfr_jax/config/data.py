"""Settings of the ratings."""

from dataclasses import dataclass, fields
from typing import Literal

from pfr_jax.config.settings import option, require, require_positive, require_seed
from pfr_jax.data.examples import Sampling
from pfr_jax.data.standard import Center


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
    split: Literal["random", "user", "temporal", "leave_one_out"] = option(
        "random",
        "How ratings are held out: at random; at random, the same shares of every user's; the "
        "newest of all (temporal); or each user's newest for the test and the one before it for "
        "validation (leave_one_out). The last two need the times of ratings: MovieLens has them, a "
        "file of one's own names their column fourth in --columns.",
    )
    validation_fraction: float = option(
        0.05,
        "Share of all ratings held out for validation (the paper: 0). --split=leave_one_out: 0, or "
        "whatever for one of each user's.",
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
        "split by the program.",
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
