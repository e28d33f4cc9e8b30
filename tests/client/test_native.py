"""The kernel in C++ computes what the factored engine does; where there is no compiler, nothing."""

from typing import Any

import jax
import numpy as np
import pytest
from federations import everything, run_rounds, small_simulation

from pfr_jax.client.factored.native import build
from pfr_jax.runs.checkpoints.identity import differences, identity
from pfr_jax.simulation.loop import initial_state

COHORTS = [np.array([0, 3, 5, 12]), np.array([12, 0, 4, 5, 7]), np.array([1, 2, 3, 12])]
RECIPE = {
    "members": 4,
    "momentum": 0.0,
    "weighting": "ratings",
    "ridge": 0.4,
    "weight_decay": 0.0,
    "dropout": 0.2,
    "private_rate_factor": 0.5,
    "input_offset": 2.0,
}
needs_compiler = pytest.mark.skipif(bool(build.load()), reason=f"native kernel: {build.load()}")


def simulated(**changes: Any) -> Any:
    settings = {"hidden_sizes": (72, 16), "local_epochs": 5, **changes}
    return small_simulation(engine="factored", **settings)


@needs_compiler
@pytest.mark.parametrize(
    "changes",
    [
        {"shared_momentum": "carry", "members": 3},
        {"shared_momentum": "carry", "nesterov": False, "weight_decay": 0.1, "num_devices": 2},
        {"private_momentum": "restart", "shared_momentum": "restart"},
        {"clip_norm": 0.0, "dropout": 0.0},
        {"clip_norm": 0.05, "members": 2},
        RECIPE,
    ],
    ids=str,
)
def test_the_kernel_computes_what_the_engine_does(changes: dict[str, Any]) -> None:
    """On the change of every leaf, and the momenta, over three rounds.

    A change smaller than the value it is a part of has its bits, so that it is compared by them.
    """
    plain, native = simulated(**changes), simulated(native="auto", **changes)
    assert not plain.federation.side.native
    assert native.federation.side.native, native.engine_choice
    begun = everything(plain, initial_state(plain))
    expected, found = (everything(s, run_rounds(s, COHORTS)) for s in (plain, native))

    def check(path: Any, a: Any, b: Any, start: Any) -> None:
        a, b, start = map(np.asarray, (a, b, start))
        largest = np.abs(a.astype(float) - start).max(initial=0)
        name = jax.tree_util.keystr(path)
        whole = 1.0 if "scale" in name else np.abs(a).max(initial=0)  # kept less a start of 1
        bits = 4 * np.finfo(np.float32).eps * whole
        off = np.abs(a.astype(float) - b).max(initial=0)
        assert off <= 1e-5 * largest + max(bits, 1e-9), name

    jax.tree_util.tree_map_with_path(check, expected, found, begun)


@needs_compiler
def test_a_client_whose_numbers_overflow_is_as_if_never_asked() -> None:
    plain, native = (simulated(native=n, clip_norm=0.0) for n in ("off", "auto"))
    spoilt = plain.population
    assert spoilt is not native.population
    for simulation in (plain, native):
        _overflow(simulation, client=12)
    one, other = (everything(s, run_rounds(s, COHORTS[:1])) for s in (plain, native))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert other[1][12].rounds == 0 and other[1][0].rounds == 1


def _overflow(simulation: Any, client: int) -> None:
    """Gives the client a rating beyond all bounds."""
    population = simulation.population
    bucket, slot = population.bucket_of[client], population.slot_of[client]
    table = population.buckets[bucket]
    object.__setattr__(table, "values", table.values.at[slot, 0, 0].set(1e30))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_sizes": (7, 5)}, "multiples of eight"),
        ({"algorithm": "fedavg"}, "private encoder"),
        ({"proximal": 0.3}, "proximal"),
        ({"state_dtype": "bfloat16"}, "16 bit"),
        ({"max_update_norm": 1.0}, "by itself"),
        ({"decay_biases": False}, "decay"),
        ({"feedback": "implicit"}, "squared errors"),
        ({"user_profile": True}, "profiles"),
    ],
    ids=str,
)
def test_what_it_cannot_do_the_engine_does(changes: dict[str, Any], reason: str) -> None:
    simulation = simulated(**{"native": "auto", **changes})
    assert not simulation.federation.side.native
    assert "no native kernel" in simulation.engine_choice and reason in simulation.engine_choice


def test_without_a_compiler_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "COMPILERS", ("no-such-compiler",))
    build.load.cache_clear()
    try:
        simulation = simulated(native="auto")
    finally:
        build.load.cache_clear()
    assert not simulation.federation.side.native
    assert "no compiler" in simulation.engine_choice


@needs_compiler
def test_a_run_goes_on_with_the_kernel_it_began_with() -> None:
    plain, native = (identity(simulated(native=n), {}) for n in ("off", "auto"))
    assert differences(plain, native) == ["engine was factored, is factored, native kernel"]


@needs_compiler
def test_what_does_not_compile_is_said(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "client_round.cc"
    broken.write_text("this is no C++")
    monkeypatch.setattr(build, "SOURCE", broken)
    monkeypatch.setattr(build.platformdirs, "user_cache_dir", lambda name: str(tmp_path))
    build.load.cache_clear()
    try:
        assert "does not compile" in build.load()
    finally:
        build.load.cache_clear()
    assert not list((tmp_path / "native").iterdir())
