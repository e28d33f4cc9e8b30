"""What the server may see under each --upload, what it costs, and what does not go together."""

import ast
import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from federations import (
    leaves_by_name,
    ragged_ratings,
    simulation_of,
    small_config,
    small_simulation,
)

import pfr_jax.server
from pfr_jax.algorithms import ALGORITHMS, federated
from pfr_jax.algorithms.federated import FederationState
from pfr_jax.client.compressors import COMPRESSORS
from pfr_jax.client.fixed_point import scale_for
from pfr_jax.config import PrivacyConfig
from pfr_jax.errors import InputError
from pfr_jax.privacy.secure_sum.costs import client_costs
from pfr_jax.server import DENOMINATORS, CohortSum, Denominator, ServerState
from pfr_jax.simulation.costs import traffic_before, traffic_ledger
from pfr_jax.simulation.loop import initial_state, key_of_round, simulate
from pfr_jax.simulation.participation import least_in_a_sum
from pfr_jax.simulation.releases import noise_seed
from pfr_jax.simulation.setup import prepare
from pfr_jax.simulation.start import seed_keys

DP = {"upload": "dp", "denominator": "expected", "sampling": "poisson", "noise_multiplier": 1.0}


def test_the_server_cannot_name_a_payload() -> None:
    """Its module imports nothing of clients."""
    tree = ast.parse(Path(pfr_jax.server.__file__).read_text())
    imported = {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    ours = {name for name in imported if name.startswith("pfr_jax")}
    assert ours == {"pfr_jax.models.item_rows"}


@pytest.mark.parametrize("engine", ["factored", "active_rows"])
@pytest.mark.parametrize(
    "upload",
    [{"upload": "secure_sum"}, {"upload": "secure_sum", "denominator": "sqrt"}, DP],
    ids=["secure_sum", "with counts", "dp"],
)
def test_the_server_receives_one_sum(
    monkeypatch: pytest.MonkeyPatch, upload: dict[str, Any], engine: str
) -> None:
    """All that its code is given in a round: its own state, and a tree like the shared part."""
    received: list[Any] = []
    step = federated.server_step

    def spy(*args: Any) -> ServerState:
        received.append(args)
        return step(*args)

    monkeypatch.setattr(federated, "server_step", spy)
    simulation = small_simulation(engine=engine, **upload)
    state = initial_state(simulation)
    cohort = simulation.population.cohort(
        simulation.population.trainable, simulation.federation.block_sizes
    )
    jax.eval_shape(simulation.algorithm.round, state, simulation.data, cohort, seed_keys(0)[1])
    ((server, told, *static),) = received
    assert isinstance(server, ServerState) and isinstance(told, CohortSum)
    assert [type(one) for one in static] == [Denominator, optax.GradientTransformationExtraArgs]
    shapes = {name: leaf.shape for name, leaf in _shapes(told.delta).items()}
    assert shapes == {name: leaf.shape for name, leaf in _shapes(state.server.shared).items()}
    assert told.clients.shape == ()
    if not DENOMINATORS[simulation.config.server.denominator].counts:
        assert told.holders is None and told.within is None
    else:
        assert told.holders is not None
        assert told.holders.shape == (simulation.model.num_items,)


def _shapes(tree: Any) -> dict[str, Any]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(entry.key for entry in path): leaf for path, leaf in flat}


@pytest.mark.parametrize("engine", ["factored", "active_rows"])
def test_a_secure_sum_is_the_sum(engine: str) -> None:
    """Rounded to the fixed point client by client, and else what the plain federation does."""

    def after(**changes: Any) -> dict[str, np.ndarray]:
        simulation = small_simulation(engine=engine, **changes)
        *_, last = simulate(simulation, 2)
        return leaves_by_name(last.state.server.shared)

    plain, summed = after(), after(upload="secure_sum")
    for name in plain:
        np.testing.assert_allclose(plain[name], summed[name], rtol=1e-5, atol=2 / scale_for(8))


def test_bytes_of_a_secure_sum() -> None:
    """Every row both ways, no index, and what the protocol adds; all by hand."""
    items, rows, dense = 23, 7 + 1, (5 * 7 + 7) + (7 + 7)  # a decoder 5 -> 7 -> items, and a norm
    for denominator, counts in (("sqrt", items), ("clients", 0)):
        simulation = small_simulation(
            upload="secure_sum", denominator=denominator, center="bias", standardize=True
        )
        ledger, three = traffic_ledger(simulation), np.array([2, 3, 4])
        traffic = ledger.round_traffic(three, three[:2])
        costs = client_costs(dense + items * rows + counts + 3, asked=3, masked=2)
        assert traffic.up == traffic.payload_up == 2 * costs.up
        assert traffic.down == 3 * 4 * (dense + items * rows) + 2 * costs.down
        before, clients = traffic_before(simulation), simulation.num_clients
        alone = client_costs(0, clients)
        # Eleven numbers of every item up and ten down; mean and scale: two numbers up, one down
        # each; the scale in a sum of its own, when the effects are known.
        assert before.up == clients * (4 * (11 * items + 4) + 12 * alone.up)
        assert before.down == clients * (4 * (10 * items + 2) + 12 * alone.down)
        assert ledger.round_traffic(three, three[:0]).up == 0


def test_bytes_under_differential_privacy() -> None:
    """Groups of weight 0 are not uploaded; all of the shared part is downloaded."""
    items, dense = 23, (5 * 7 + 7) + (7 + 7)
    simulation = small_simulation(**DP)
    three = np.array([2, 3, 4])
    traffic = traffic_ledger(simulation).round_traffic(three, three)
    assert traffic.up == 3 * client_costs(items * 7 + 3, asked=3, masked=3).up
    whole = small_simulation(**DP, bias_weight=1.0, hidden_weight=1.0, clip_quantile=0.5)
    traffic = traffic_ledger(whole).round_traffic(three, three)
    assert traffic.up == 3 * client_costs(items * 8 + dense + 1 + 3, asked=3, masked=3).up


def test_clients_that_drop_out_are_as_if_not_drawn() -> None:
    """Also after masking: their part of the sum is missing, the noise is not."""
    plain = small_simulation(**DP, cohort_fraction=0.5)
    faulty = small_simulation(**DP, cohort_fraction=0.5, dropout_rate=0.4)
    assert plain.plan == faulty.plan
    a, b = next(iter(simulate(plain, 1))), next(iter(simulate(faulty, 1)))
    assert b.faults.dropped > 0 and set(b.clients) < set(a.clients)
    population, state = plain.population, initial_state(plain)
    cohort = population.cohort(b.clients, plain.federation.block_sizes, plain.cohort_size)
    key = key_of_round(faulty, 0)
    again, _ = jax.jit(plain.algorithm.round)(state, plain.data, cohort, key)
    jax.tree.map(np.testing.assert_array_equal, again.server, b.state.server)


def test_runs_of_one_seed_share_no_noise() -> None:
    """But for one that is made longer, and for one elsewhere."""

    def seed(**changes: Any) -> int:
        simulation = small_simulation(**{**DP, "schedule": "constant", **changes})
        assert simulation.plan is not None
        return noise_seed(simulation.config, simulation.plan)

    run = seed()
    assert run == seed(rounds=5) == seed(block_size=2) == seed(eval_every=2)
    assert run == seed(noise_multiplier=1, upload_clip=0.05)  # an int is the same setting
    others = {"seed": 1}, {"noise_multiplier": 2.0}, {"client_learning_rate": 0.01}, {"members": 2}
    cosine = {"schedule": "cosine"}, {"schedule": "cosine", "rounds": 5}  # whose rates differ
    assert len({run, *(seed(**other) for other in (*others, *cosine))}) == 7


def test_sums_that_would_be_uploads_or_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="--cohort_fraction=0.05: a cohort is one client"):
        small_simulation(upload="secure_sum", cohort_fraction=0.05)
    with pytest.raises(InputError, match="--deterministic_sum: rounding takes .* --upload_clip"):
        small_simulation(**DP, deterministic_sum=True, upload_clip=1e-8)


def test_a_record_of_ones_own_must_go_with_the_upload() -> None:
    config, compressor = small_config(upload="secure_sum"), COMPRESSORS["int8"](0.1, 2)
    ratings, split = ragged_ratings(), small_simulation().split
    with pytest.raises(InputError, match="sums cannot be made of encoded uploads"):
        prepare(config, ratings, split, compressor=compressor)
    with pytest.raises(InputError, match="--algorithm=local uploads nothing"):
        prepare(config, ratings, split, spec=ALGORITHMS["local"])


def test_a_sum_needs_more_than_half_of_the_cohort() -> None:
    """Of fewer the clients of a secure sum reveal nothing: the model stays, and all are dropped."""
    settings = {"cohort_fraction": 1.0, "dropout_rate": 0.5, "rounds": 6}
    simulation = small_simulation(upload="secure_sum", **settings)

    def copied(state: FederationState) -> dict[str, np.ndarray]:  # the next round uses it up
        return {n: leaf.copy() for n, leaf in leaves_by_name(state.server.shared).items()}

    state, made = copied(initial_state(simulation)), []
    for record in simulate(simulation):
        came = 13 - record.faults.dropped
        assert came == len(record.clients) and (came == 0 or came >= least_in_a_sum(13) == 7)
        after = copied(record.state)
        moved = any((after[name] != leaf).any() for name, leaf in state.items())
        last = record.round == 6  # at a rate of nearly 0
        assert moved == bool(came) or last
        state = after
        made.append(bool(came))
    assert any(made) and not all(made)
    assert [least_in_a_sum(asked) for asked in (1, 2, 3, 4, 50)] == [2, 2, 2, 3, 26]


def test_a_round_of_nobody_is_noise() -> None:
    """An empty cohort looks like any other."""
    simulation = small_simulation(**DP, dropout_rate=1.0)
    before = leaves_by_name(initial_state(simulation).server.shared)
    record = next(iter(simulate(simulation, 1)))
    after = leaves_by_name(record.state.server.shared)
    name = "decoder/output/item_kernel"
    assert len(record.clients) == 0 and (before[name] != after[name]).all()


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [True, False])
def test_many_devices_draw_the_same_noise(deterministic: bool) -> None:
    settings = {**DP, "deterministic_sum": deterministic, "bias_weight": 1.0, "hidden_weight": 1.0}
    ends = []
    for devices in (1, 4):
        *_, last = simulate(small_simulation(**settings, num_devices=devices), 2)
        ends.append(leaves_by_name(last.state.server.shared))
    for name, leaf in ends[0].items():
        if deterministic:
            np.testing.assert_array_equal(leaf, ends[1][name])
        else:
            np.testing.assert_allclose(leaf, ends[1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"denominator": "sqrt"}, "--denominator=sqrt divides by counts"),
        ({"denominator": "clients"}, "--denominator=clients divides by counts"),
        ({"sampling": "fixed"}, "--sampling=poisson"),
        ({"over_selection": 1.3}, "--over_selection takes the fastest"),
        ({"retrain": True}, "--retrain would use the ratings a second time"),
        ({"weighting": "ratings"}, "--weighting=ratings needs the exact number"),
        ({"ridge": 0.4}, "--ridge needs the exact number"),
        ({"center": "adaptive"}, "--center=adaptive makes exact sums"),
        ({"output_bias": "item"}, "--output_bias=item makes exact sums"),
        ({"compressor": "int8"}, "sums cannot be made of encoded uploads"),
        ({"algorithm": "joint"}, "--algorithm=joint uploads nothing"),
        ({"step_noise": 0.003, "clip_quantile": 0.5}, "--step_noise knows the noise of a norm"),
        ({"step_noise": 0.003, "server_optimizer": "adam"}, "--step_noise knows the noise"),
        ({"noise_multiplier": 0.0, "release_multiplier": 2.0}, "there is no noise anywhere"),
        ({"noise_multiplier": None}, "give either --epsilon or --noise_multiplier"),
        ({"epsilon": 1.0}, "give either --epsilon or --noise_multiplier"),
        (
            {"feedback": "ranking", "negative_sampling": "popularity"},
            "--negative_sampling=popularity makes exact sums",
        ),
    ],
)
def test_what_does_not_go_with_differential_privacy(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        small_config(**{**DP, **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"upload": "secure_sum", "compressor": "topk"}, "encoded uploads"),
        ({"upload": "secure_sum", "over_selection": 2.0}, "--over_selection=2 wants at most half"),
        ({"upload": "decoy", "partial_compression": False}, "no row tells what was rated"),
        ({"upload": "decoy", "feedback": "ranking"}, "rows of other items already"),
        ({"epsilon": 1.0}, "only with --upload=dp"),
        ({"upload": "secure_sum", "noise_multiplier": 1.0}, "only with --upload=dp"),
        ({**DP, "upload_clip": 0.0}, "--upload_clip=0.0: must be positive"),
        ({**DP, "delta": 1.0}, "--delta=1.0"),
        ({**DP, "clip_quantile": 1.0}, "--clip_quantile=1.0"),
        ({**DP, "effects_share": 0.0}, "--effects_share=0.0"),
    ],
)
def test_what_is_refused_besides(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        small_config(**changes)


def test_everybody_in_every_round_needs_no_poisson() -> None:
    config = small_config(**{**DP, "sampling": "fixed", "cohort_fraction": 1.0})
    simulation = simulation_of(config, ragged_ratings())
    assert simulation.plan is not None and simulation.plan.rate == 1.0
    assert PrivacyConfig().hides_clients is False
    assert dataclasses.replace(config.privacy).dp
