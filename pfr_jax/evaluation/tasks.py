"""The tasks that come with the package, by what --feedback calls them."""

from pfr_jax.evaluation.explicit import EXPLICIT
from pfr_jax.evaluation.implicit import IMPLICIT
from pfr_jax.evaluation.ranked import RANKING

TASKS = {task.name: task for task in (EXPLICIT, IMPLICIT, RANKING)}
