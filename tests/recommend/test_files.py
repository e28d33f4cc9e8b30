"""Titles, pairs, lists and exported models as files."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from federations import COHORT, run_rounds, small_simulation
from safetensors.numpy import load_file

from pfr_jax.data.titles import read_titles, titles_beside
from pfr_jax.errors import InputError
from pfr_jax.models.model import predict
from pfr_jax.recommend.export import export_client, export_server
from pfr_jax.recommend.files import check_output, predict_file, write_table
from pfr_jax.recommend.recommender import Recommender

IDS = np.array([1, 2, 10])


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    simulation = small_simulation(center="bias", members=2, clip_predictions=False)
    return Recommender(simulation, run_rounds(simulation, [COHORT]), 1, 0.0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.item", "1|Café (1995)|01-Jan-1995||x\n10|Heat|\n".encode("latin-1")),
        ("movies.dat", "1::Café (1995)::Drama|Comedy\n10::Heat::Crime\n".encode("latin-1")),
        ("movies.csv", 'movieId,title,genres\n1,"Café (1995)",x\n10,Heat,y\n'.encode()),
        ("shop.csv", '\ufeffid,price,Name\n1,3,"Café (1995)"\n10,4,Heat\n'.encode()),
    ],
)
def test_titles(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_titles(tmp_path / name, IDS).tolist() == ["Café (1995)", "2", "Heat"]


def test_titles_that_come_with_the_ratings(tmp_path: Path) -> None:
    """Nobody has asked for them, so a file that is not there, or of other items, is no error."""
    assert titles_beside(tmp_path / "u.data", IDS) is None
    (tmp_path / "u.item").write_text("10|Heat|\n")
    found = titles_beside(tmp_path / "u.data", IDS)
    assert found is not None and found.tolist() == ["1", "2", "Heat"]
    assert titles_beside(tmp_path / "mine.csv", IDS) is None
    (tmp_path / "movies.csv").write_text("movieId,title\n77,Heat\n")
    assert titles_beside(tmp_path / "ratings.csv", IDS) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("u.item", "1|A\nnothing\n", "u.item, line 2: want an id, '|' and a title"),
        ("x.csv", "id,price\n1,2\n", "line 1: .*called title or name; these are id, price"),
        ("x.csv", "", "these are none"),
        ("x.csv", "id,title\n1,A\n2\n", "x.csv, line 3: there is no title"),
        ("x.csv", "id,title\n77,A\n", "none of its 1 ids is an item of this run"),
    ],
)
def test_faulty_titles(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message.replace("|", r"\|")):
        read_titles(tmp_path / name, IDS)
    with pytest.raises(InputError, match="No such file"):
        read_titles(tmp_path / "nowhere.csv", IDS)


def test_pairs(recommender: Recommender, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("day,item,user\nmon,3,1\ntue,4,2\n")
    found = predict_file(recommender, path)
    assert found.columns.tolist() == ["day", "item", "user", "prediction"]
    assert found["prediction"].tolist() == recommender.predict([1, 2], [3, 4]).tolist()
    path.write_text("user,item\n1,3\n1,99\n")
    with pytest.raises(InputError, match=r"pairs.csv, line 3: item 99: not among the 23 items"):
        predict_file(recommender, path)
    path.write_text("user\n1\n")
    with pytest.raises(InputError, match="line 1: want two columns"):
        predict_file(recommender, path)


@pytest.mark.parametrize("name", ["lists.csv", "lists.parquet"])
def test_lists(name: str, recommender: Recommender, tmp_path: Path) -> None:
    check_output(tmp_path / name)
    lists = recommender.recommend_all(2)
    write_table(lists, tmp_path / name)
    read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
    pd.testing.assert_frame_equal(read(tmp_path / name), lists, check_dtype=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_such_output(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="want a name that ends in .parquet or .csv"):
        check_output(tmp_path / "lists.txt")
    with pytest.raises(InputError, match="there is no folder"):
        check_output(tmp_path / "nowhere" / "lists.csv")


def test_the_exported_files_predict_the_same(recommender: Recommender, tmp_path: Path) -> None:
    """Put together by hand, as another program would."""
    user = int(COHORT[1])
    export_server(recommender, tmp_path)
    export_client(recommender, user, tmp_path)
    server, client = (
        load_file(tmp_path / f"{n}.safetensors") for n in ("server", f"client_{user}")
    )
    facts, own = (
        json.loads((tmp_path / f"{n}.json").read_text()) for n in ("server", f"client_{user}")
    )
    assert (facts["round"], own["user"], own["rounds"]) == (1, user, 1)
    simulation = recommender.simulation
    rows = np.searchsorted(facts["items"], own["items"])
    given = np.zeros(len(facts["items"]), np.float32)
    examples = simulation.examples
    mine = examples.user == user
    effects = np.array(facts["item_effects"])
    center = effects + own["user_part"]
    target = (examples.target[mine] - center[examples.item[mine]]) / facts["scale"]
    given[examples.item[mine]] = target + facts["input_offset"]
    params: dict[str, Any] = {}
    for name, leaf in {**server, **client}.items():
        if name.startswith("encoder") and "item_" in name:
            whole = np.zeros((len(given), *leaf.shape[1:]), leaf.dtype)
            whole[rows] = leaf
            leaf = whole
        *path, last = name.split("/")
        place = params
        for part in path:
            place = place.setdefault(part, {})
        place[last] = jnp.asarray(leaf)
    outputs = np.asarray(predict(simulation.model, params, given, jnp.zeros(0))).mean(axis=0)
    expected = recommender.predict([user] * len(given), facts["items"])
    assert outputs * facts["scale"] + center == pytest.approx(expected, abs=1e-5)
