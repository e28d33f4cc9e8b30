"""The tasks that come with the package, by what --feedback calls them."""

from pfr_jax.config import DataConfig
from pfr_jax.evaluation.explicit import EXPLICIT
from pfr_jax.evaluation.implicit import IMPLICIT
from pfr_jax.evaluation.ranked import RANKING, ranking_by
from pfr_jax.evaluation.task import Task

TASKS = {task.name: task for task in (EXPLICIT, IMPLICIT, RANKING)}


def choose_task(config: DataConfig) -> Task:
    """The task that these settings name."""
    if config.feedback == RANKING.name:
        return ranking_by(config.ranking_loss)
    return TASKS[config.feedback]
