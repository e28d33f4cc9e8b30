"""What makes two runs the same run: its settings, its ratings, its clients.

A checkpoint holds the identity of its run, and config.json the settings and ratings. Where they
differ from those of the command, it says in words what was another one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pfr_jax.config import FROM_HERE_ON, MAY_CHANGE, READING
from pfr_jax.data.cache import fingerprint
from pfr_jax.data.table import Ratings
from pfr_jax.simulation.releases import noise_seed
from pfr_jax.simulation.setup import Simulation

# Of a checkpoint's content. 9: members lie before their own axes.
FORMAT = 9
Content = dict[str, Any]
ONE_BY_ONE = {  # what is compared apart from the settings -> how a difference is told
    "records": "the run's algorithm, model or compressor was another record",
    "split": "the split into training, validation and test is not that of the run",
    "examples": "the clients' negatives or decoys were drawn otherwise",
    "clients": "the clients are dealt to other blocks than the run's",
    "effects": "the sums before the first round had another noise; summary.json has the run's own, "
    "for --release_multiplier",
    "noise": "the noise on the rounds' sums, or what it is accounted for, was another; is that "
    "another version of dp-accounting?",
    "a client's state": "what is kept of a client has another shape or type than in the run",
}


def identity(simulation: Simulation, leaf_types: dict[str, str]) -> Content:
    """What a checkpoint and the run that goes on from it must have in common."""
    split, plan = simulation.split, simulation.plan
    rows = split.train, split.validation, split.test, split.support, split.query
    settings = simulation.config.flat().items()
    compressor, examples = simulation.federation.side.compressor, simulation.examples
    if len(simulation.decoys):
        examples = examples + simulation.decoys
    return {
        "records": [
            simulation.spec.name,
            type(getattr(simulation.model, "one", simulation.model)).__name__,
            compressor.name if compressor else "none",
        ],
        "format": FORMAT,
        "settings": {name: list(v) if isinstance(v, tuple) else v for name, v in settings},
        "ratings": facts_of_ratings(simulation.ratings, simulation.target),
        "split": fingerprint(*rows),
        "examples": fingerprint(examples.user, examples.item, examples.target),
        "effects": plan.release_multiplier if plan else None,
        "noise": noise_seed(simulation.config, plan) if plan else None,
        "clients": fingerprint(simulation.population.bucket_of),
        "engine": simulation.spec.name
        if simulation.spec.centralized
        else simulation.federation.engine.name,
        "a client's state": leaf_types,
    }


def facts_of_ratings(ratings: Ratings, target: np.ndarray) -> Content:
    """Sizes, and a SHA-256 of all that a run takes from the ratings, wherever they were read.

    ``target`` (f64[N]) is what each is trained on. The labels of users and items count, and so does
    the order of the ratings, by which they are split.
    """
    profile = np.zeros((0, 0)) if ratings.profile is None else ratings.profile
    labels = _text_or_numbers(ratings.user_ids), _text_or_numbers(ratings.item_ids)
    scale = np.array([ratings.scale.low, ratings.scale.high])
    return {
        "users": ratings.num_users,
        "items": ratings.num_items,
        "ratings": len(ratings),
        "sha256": fingerprint(ratings.user, ratings.item, target, *labels, scale, profile),
    }


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Why ``now`` cannot go on from ``saved``, two identities, in words; empty if it can."""
    if saved.get("format") != FORMAT:
        return ["it was written by another version of this program"]
    found = differing_settings(saved["settings"], now["settings"])
    found += differing_ratings(saved["ratings"], now["ratings"])
    if saved["engine"] != now["engine"]:
        found.append(f"engine was {saved['engine']}, is {now['engine']}")
    # Other ratings or settings make all of these others, too.
    return found or [text for name, text in ONE_BY_ONE.items() if saved[name] != now[name]]


def differing_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings (name -> value, as JSON has them) that a run cannot be resumed with."""
    free = MAY_CHANGE | READING | FROM_HERE_ON
    found = []
    for name, value in now.items():
        if name in free or before.get(name) == value:
            continue
        if name == "release_multiplier":  # what it is in force is compared as "effects"
            continue
        text = f"--{name} was {_as_given(before.get(name))}, is {_as_given(value)}"
        if name == "rounds" and now.get("epsilon") is not None:
            text += ": the noise was found for so many; --noise_multiplier may run on"
        elif name == "rounds":
            if before.get("schedule") == "constant" == now.get("schedule"):
                continue
            text += (
                f": the {before.get('schedule')} schedule depends on it; only runs of "
                "--schedule=constant can be made longer"
            )
        found.append(text)
    return found


def _as_given(value: Any) -> str:
    """A setting as it would stand behind its flag."""
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return "empty" if value == "" else str(value)


def differing_ratings(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """At most one text; the arguments are ``facts_of_ratings``."""
    if before == now:
        return []
    before = before or {}
    if all(before.get(name) == now[name] for name in ("users", "items", "ratings")):
        what = "there are as many, of as many users and items, but others or in another order"
    else:
        what = f"it had {_sizes_text(before)}; these are {_sizes_text(now)}"
    return [f"the ratings are not those of the run: {what}"]


def _sizes_text(facts: Mapping[str, Any]) -> str:
    if not facts:
        return "unknown ones"
    return f"{facts['ratings']:,} of {facts['users']:,} users and {facts['items']:,} items"


def _text_or_numbers(labels: np.ndarray) -> np.ndarray:
    """Labels as integers, or as the bytes of their texts, whatever type these are kept in."""
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    texts = "\0".join(map(str, labels)).encode(errors="surrogatepass")
    return np.frombuffer(texts, np.uint8)
