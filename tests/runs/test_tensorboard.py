"""TensorBoard events of a run, read back record by record."""

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from federations import ragged_ratings, small_config

from pfr_jax.errors import InputError
from pfr_jax.runs.experiment import train
from pfr_jax.runs.tensorboard import Events, tag_of


def records(path: Path) -> Iterator[bytes]:
    """The payloads of a file of records: length, its checksum, payload, its checksum."""
    content, place = path.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield content[place + 12 : place + 12 + length]
        place += 12 + length + 4


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Tag -> round -> value."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir()):
        for record in records(path):
            event: Any = Event.FromString(record)
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_a_run_is_tracked(tmp_path: Path) -> None:
    config = small_config(
        tensorboard=True, validation_fraction=0.2, eval_every=1, hidden_sizes=(5,), rounds=3
    )
    train(config, tmp_path, ratings=ragged_ratings())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = scalars(tmp_path / "tensorboard")
    for tag, name in (("validation/rmse", "validation_rmse"), ("loss", "loss")):
        rounds = {line["round"]: line[name] for line in lines}
        assert found[tag] == pytest.approx(rounds, rel=1e-6)
    assert found["bytes/up_total"][3] == pytest.approx(lines[-1]["bytes_up_total"])


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"pip install 'pfr_jax\[track\]'"):
        Events(tmp_path, 0)


def test_tags() -> None:
    names = "validation_warm_rmse", "test_ndcg_full", "new_users_shared_encoder_rmse", "epsilon"
    assert [tag_of(name) for name in names] == [
        "validation_warm/rmse",
        "test/ndcg_full",
        "new_users/shared_encoder_rmse",
        "epsilon",
    ]
