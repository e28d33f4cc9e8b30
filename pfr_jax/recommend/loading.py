"""From a run's folder to a ``Recommender``."""

from pathlib import Path

from pfr_jax.algorithms import AlgorithmSpec
from pfr_jax.client.compressors import Compressor
from pfr_jax.data.splits import Split
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError
from pfr_jax.recommend.recommender import Recommender
from pfr_jax.runs.checkpoints.store import Checkpoints, newest_good
from pfr_jax.runs.kept import BEST
from pfr_jax.runs.settings import config_of
from pfr_jax.simulation.chosen import MakeModel
from pfr_jax.simulation.loading import load_ratings, split_ratings
from pfr_jax.simulation.setup import prepare


def load_run(
    folder: str | Path,
    *,
    ratings: Ratings | None = None,
    split: Split | None = None,
    spec: AlgorithmSpec | None = None,
    model: MakeModel | None = None,
    compressor: Compressor | None = None,
) -> Recommender:
    """The model that a run's figures are of.

    Args:
      folder: of the run. Its ratings are read again from where its settings say.
      ratings: the table that the run was given, where it was given one (``train``).
      split: likewise.
      spec: likewise.
      model: likewise.
      compressor: likewise.

    Returns:
      The trained federation, for predictions and lists.

    Raises:
      InputError: there is no such run, it has kept no model, or its ratings are no longer there or
        others; what to do is said.
    """
    folder = Path(folder).expanduser()
    config = config_of(folder)
    step = newest_good(folder / BEST, _complain)
    if step is None:
        raise InputError(
            f"{folder} has kept no model: the run was made with --nocheckpoints, or has not come "
            f"to its end; pfr run --resume --output_dir={folder} with its flags finishes it"
        )
    if ratings is None:
        ratings, split = load_ratings(config.data)
    elif split is None:
        split = split_ratings(config.data, ratings)
    assert split is not None
    kept = step.content["content"]
    if kept["retrained"]:
        split = split.all_to_train_on()
    simulation = prepare(config, ratings, split, spec=spec, model=model, compressor=compressor)
    store = Checkpoints(folder / BEST, simulation, keep=1)
    saved = store.latest(_complain)
    assert saved is not None
    return Recommender(simulation, store.restore(saved), saved.round, kept["model_shrinkage"])


def _complain(text: str) -> None:
    raise InputError(text)
