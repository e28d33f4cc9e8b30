"""The server's model, or what one client keeps, as safetensors with a JSON beside them.

Names of arrays are those of the model's parts, as in "decoder/output/item_kernel". With several
members (--members) each has its share of the first axis, and of arrays with a row per item of the
second.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save

from pfr_jax.client.block import own_part
from pfr_jax.models.item_rows import take_rows
from pfr_jax.recommend.labels import rows_of
from pfr_jax.recommend.recommender import Recommender

FORMAT = 2


def export_server(recommender: Recommender, folder: Path) -> list[Path]:
    """What the server holds and every client is sent.

    Args:
      recommender: the model.
      folder: where server.safetensors and server.json are written; it is made.

    Returns:
      The two files.
    """
    simulation, state = recommender.simulation, recommender.state
    config, standard, adds = simulation.config, simulation.standard, simulation.task.adds_center
    facts = {
        "format": FORMAT,
        "algorithm": simulation.spec.name,
        "feedback": simulation.task.name,
        "round": recommender.round,
        "model": asdict(config.model),
        "items": recommender.item_ids.tolist(),
        "input_offset": config.flat()["input_offset"],
        "model_shrinkage": recommender.model_shrinkage,
        "rating_scale": [simulation.ratings.scale.low, simulation.ratings.scale.high],
        "mean": standard.mean if adds else 0.0,
        "scale": standard.scale if adds else 1.0,
        "user_shrinkage": standard.user_shrinkage,
        "item_effects": standard.item.tolist() if adds else None,
    }
    return _write(folder, "server", state.server.shared, facts)


def export_client(recommender: Recommender, user: Any, folder: Path) -> list[Path]:
    """What the client of a user keeps to itself; rows are those of its own items.

    Args:
      recommender: the model.
      user: the user's label.
      folder: where client_USER.safetensors and client_USER.json are written; it is made.

    Returns:
      The two files.

    Raises:
      InputError: an unknown user.
    """
    row = int(rows_of([user], recommender.user_ids, "user")[0])
    simulation, state = recommender.simulation, recommender.state
    population, federation = simulation.population, simulation.federation
    client = int(population.client_of_user[row])
    bucket, slot = int(population.bucket_of[client]), int(population.slot_of[client])
    table, length = population.buckets[bucket], int(population.rows[client])
    private: Any = {}
    if not (federation.side.stateless or simulation.spec.centralized):
        items, side, shared = table.items[slot], federation.side, state.server.shared
        own = federation.engine.unpack(
            *(side, state.start, shared),
            jax.tree.map(lambda leaf: np.asarray(leaf[slot]), state.clients[bucket]),
            items,
            side.training.inputs(table.values[slot], table.known[slot]),
        )
        whole = own_part(side, take_rows(state.start, items), take_rows(shared, items), own)
        private = _cut(whole, length)
    standard = simulation.standard
    facts = {
        "format": FORMAT,
        "user": recommender.user_ids[row].item(),
        "rounds": int(np.asarray(state.clients[bucket].rounds[slot])),
        "items": recommender.item_ids[np.asarray(table.items[slot])[:length]].tolist(),
        "user_part": float(standard.user[row]) if simulation.task.adds_center else 0.0,
    }
    return _write(folder, f"client_{facts['user']}", private, facts)


def _cut(tree: Any, length: int) -> Any:
    """Without the padding of item rows."""

    def cut(path: Any, leaf: Any) -> np.ndarray:
        of_items = "item_" in jax.tree_util.keystr(path)
        return np.asarray(leaf)[:length] if of_items else np.asarray(leaf)

    return jax.tree_util.tree_map_with_path(cut, tree)


def _write(folder: Path, name: str, tree: Any, facts: dict[str, Any]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.ascontiguousarray(leaf)
        for path, leaf in leaves
    }
    tensors, text = folder / f"{name}.safetensors", folder / f"{name}.json"
    tensors.write_bytes(save(arrays))
    text.write_text(json.dumps(facts, indent=1) + "\n")
    return [tensors, text]
