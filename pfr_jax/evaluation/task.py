"""What a task is, as a record: what is predicted, what is minimised, and what is told of it.

Everything that depends on the kind of feedback is in one of these; no other file asks for its name.
Legend: U users, N ratings, T ratings of a held-out part.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pfr_jax.baselines.record import Baseline
from pfr_jax.data.examples import Choices, Examples, Sampling, choices_of, observed
from pfr_jax.data.standard import Center, Standard
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.evaluation.cold import BY_MEANS, ColdRule
from pfr_jax.evaluation.metrics import Figures
from pfr_jax.evaluation.ranking import KindsOfUsers, RankingFigures
from pfr_jax.evaluation.scoring import Scorer
from pfr_jax.models.losses import Loss

AnyFigures = Figures | RankingFigures
ByUser = dict[str, np.ndarray]  # figure -> f64[U], NaN where it is not defined


@dataclass(frozen=True)
class Draws:
    """How a client draws negatives, where a task wants them: see ``choices_of``."""

    negatives: int  # per positive
    sampling: Sampling
    seed: int
    counted: np.ndarray  # bool[U], users whose choices count in what is public

    def choices(self, ratings: Ratings, rows: np.ndarray, target: np.ndarray) -> Choices:
        """Of the ratings at ``rows``, which lie on clients."""
        return choices_of(
            ratings, rows, target, self.negatives, self.sampling, self.seed, self.counted
        )


def as_rated(ratings: Ratings, rows: np.ndarray, target: np.ndarray, draws: Draws) -> Examples:
    """The ratings as they are; nothing is drawn."""
    del draws
    return observed(ratings, rows, target)


@dataclass(frozen=True)
class HeldOutPart:
    """What a judge needs to know of a part, besides the scores."""

    ratings: Ratings
    rows: np.ndarray  # i64[T] of the table
    target: np.ndarray  # f64[N]
    standard: Standard  # what targets became before a model saw them
    warm: np.ndarray  # bool[T], of a user and an item that are not cold
    seen: np.ndarray  # i64[...], rows that are no candidates of a full ranking
    clip: bool  # predictions of stars are clipped to the scale
    top_k: int  # length of ranked lists

    @property
    def user(self) -> np.ndarray:
        return self.ratings.user[self.rows]

    @property
    def item(self) -> np.ndarray:
        return self.ratings.item[self.rows]


@dataclass(frozen=True)
class Judged:
    """Figures over a held-out part."""

    figures: AnyFigures
    by_user: ByUser
    # Over the ratings of users and items that are not cold; None where all are or none is.
    warm: AnyFigures | None
    num_warm: int  # such ratings


JudgeBaselines = Callable[[HeldOutPart], dict[str, Judged]]  # by the name of the baseline


@dataclass(frozen=True)
class ShownAs:
    """What people are shown of a model's outputs.

    Attributes:
      name: what it is, in words.
      of: (outputs f64[T], turned back from what was standardised; the scale, or None where
        predictions are not clipped) -> f64[T].
    """

    name: str
    of: Callable[[np.ndarray, Scale | None], np.ndarray]


SCORES = ShownAs("score", lambda outputs, scale: outputs)


@dataclass(frozen=True)
class Task:
    """A kind of feedback.

    Attributes:
      name: what --feedback calls it.
      targets: (ratings, threshold of positives or None) -> what every rating is trained on, f64[N].
      check: raises InputError for a mean of the examples' targets that nothing can be learned from.
      loss: (outputs f[n, L], centred targets f[n, L], observed bool[n, L]) -> f[], the mean over
        what is observed.
      adds_center: the model's outputs are standardised like the targets, and are turned back.
      link: means of targets -> the outputs that predict them.
      judge: (part, scorer, outputs f64[T] for the part's pairs) -> figures.
      baselines: (ratings, targets f64[N], rows i64[...] to fit on) -> what tells, of a part, what
        simple predictors reach on it.
      centralised: the centralised baselines, which are trained on all users' ratings at once.
      judge_baseline: (part, what one of these was fitted to) -> figures.
      figures: the record of figures.
      headings: figure -> heading of a column of the results; the first one selects rounds, compares
        systems and is drawn.
      higher_is_better: of that first one.
      lists: the figures are of lists of --top_k.
      squared_errors: (part, outputs f64[T]) -> f64[T], by which is chosen how much outputs count;
        None: they are not added to a centre.
      usual_center: what --center=auto is.
      milestone: the simple baseline that a run is to reach, which takes rounds and bytes; None: the
        best of them.
      references: the simple baselines that "less ..." may be less than: the best of them is.
      shown: columns of tables over seeds.
      examples: (ratings, rows i64[n] that lie on clients, targets f64[N], how to draw) -> what the
        clients train on.
      draws_negatives: ``examples`` draws.
      cold: what scores users and items that nothing has trained.
      shown_as: what people are shown of outputs.
      kinds_of_users: counts of users of a part that a reader should know; None: nothing to tell.
    """

    name: str
    targets: Callable[[Ratings, float | None], np.ndarray]
    check: Callable[[float], None]
    loss: Loss
    adds_center: bool
    link: Callable[[Any], Any]
    judge: Callable[[HeldOutPart, Scorer, np.ndarray], Judged]
    baselines: Callable[[Ratings, np.ndarray, np.ndarray], JudgeBaselines]
    centralised: tuple[Baseline, ...]
    judge_baseline: Callable[[HeldOutPart, Any], Judged]
    figures: type[AnyFigures]
    headings: Mapping[str, str]
    higher_is_better: bool
    lists: bool
    references: tuple[str, ...]
    shown: tuple[str, ...]
    examples: Callable[[Ratings, np.ndarray, np.ndarray, Draws], Examples] = as_rated
    draws_negatives: bool = False
    squared_errors: Callable[[HeldOutPart, np.ndarray], np.ndarray] | None = None
    usual_center: Center = "user"
    milestone: str | None = None
    cold: ColdRule = BY_MEANS
    shown_as: ShownAs = SCORES
    kinds_of_users: Callable[[HeldOutPart], KindsOfUsers] | None = None

    @property
    def figure(self) -> str:
        """The figure that selects rounds, compares systems and is drawn."""
        return next(iter(self.headings))

    @property
    def heading(self) -> str:
        """What to call it, on one line."""
        return self.headings[self.figure].replace("\n", " ")

    def criterion(self, figures: AnyFigures) -> float:
        """What rounds are selected by; lower is better."""
        value = float(getattr(figures, self.figure))
        return -value if self.higher_is_better else value

    def to_reach(self, baselines: Mapping[str, Any]) -> str:
        """The name of the simple baseline that a run is to reach."""
        return self.milestone or self.best_reference(baselines)

    def best_reference(self, baselines: Mapping[str, Any]) -> str:
        """The name of the simple baseline with the best figure: what "less ..." is less than.

        ``baselines`` have figures by name, as records or as summary.json has them.
        """

        def loss(name: str) -> float:
            figures = baselines[name]
            is_map = isinstance(figures, Mapping)
            found = figures[self.figure] if is_map else getattr(figures, self.figure)
            # Nobody had a held-out positive.
            if found is None or math.isnan(found):
                return math.inf
            return -found if self.higher_is_better else found

        # Summaries of earlier versions lack some of them.
        return min((name for name in self.references if name in baselines), key=loss)
