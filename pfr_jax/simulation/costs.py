"""What taking part costs clients: the bytes of a run, and their devices' work and memory."""

from dataclasses import dataclass, fields

import numpy as np

from pfr_jax.client.compressors import FLOAT_BYTES
from pfr_jax.client.factored.coefficients import num_moments
from pfr_jax.client.training import Parts
from pfr_jax.data.private_effects import sums_of
from pfr_jax.data.standard import EFFECTS, sums_per_client, sums_per_row, waiting_sums
from pfr_jax.models.item_rows import Tree, flatten
from pfr_jax.models.model import Model, parts_on
from pfr_jax.server import DENOMINATORS
from pfr_jax.simulation.ledger import Ledger, SecureLedger, Traffic, shared_ledger, weights
from pfr_jax.simulation.rounds import params_shapes
from pfr_jax.simulation.setup import Simulation

RATING_BYTES = 8  # an item index and a rating


@dataclass(frozen=True)
class ClientCosts:
    """What taking part costs a client's own device, in the mean over all clients."""

    flops_per_round: float  # multiplications and additions of the model's products, both ways
    resident_bytes: float  # kept between rounds: private part, momenta, its ratings
    ranking_download_bytes: int  # once, to rank the whole catalogue: the shared part of all items


def client_costs(
    private: Tree,
    ledger: Ledger,
    rows: np.ndarray,
    users: np.ndarray,
    model: Model,
    epochs: int,
    moments: tuple[int, int],
    keeps_residual: bool = False,
    public_effects: bool = False,
) -> ClientCosts:
    """Of clients with ``rows`` (i64[N]) items and ``users`` (i64[N]) users each.

    ``moments`` are the optimizer states like the private and like the shared part that a client
    keeps between rounds; with ``keeps_residual`` also what its last upload lost; with
    ``public_effects`` an item has an effect that predictions need. A weight costs 2
    operations on the way there, 2 for the gradient of its layer's input (not in the first layer)
    and 2 for its own.
    """
    out = rows if ledger.partial_compression else np.full_like(rows, ledger.num_items)
    hidden, wide = model.hidden_weights, model.feature_size
    per_pass = 6 * (hidden + out * wide) + 4 * rows * model.input_width
    own, own_row = weights(private, ledger.num_items)
    kept = (own + rows * own_row) * (1 + moments[0])
    kept = kept + (ledger.dense_bytes + out * ledger.row_bytes) * moments[1] + RATING_BYTES * rows
    if keeps_residual:
        kept = kept + sum(
            (out if count is None else count) * width * FLOAT_BYTES
            for count, width in ledger.matrices
        )
    return ClientCosts(
        flops_per_round=float((epochs * users * per_pass).mean()),
        resident_bytes=float(kept.mean()),
        ranking_download_bytes=ledger.dense_bytes
        + ledger.num_items * (ledger.row_bytes + (FLOAT_BYTES if public_effects else 0)),
    )


def traffic_ledger(simulation: Simulation) -> Ledger:
    """The ledger of the run: of payloads in the open, or of secure sums."""
    params = params_shapes(simulation.model, simulation.population.buckets[0].values.dtype)
    shared = {name: part for name, part in params.items() if name in simulation.algorithm.shared}
    if simulation.spec.centralized:  # its ratings are where it is
        shared = {}
    side, num_items = simulation.federation.side, simulation.model.num_items
    ledger = shared_ledger(shared, num_items, side.partial_compression, side.compressor)
    if not simulation.config.privacy.hides_clients:
        return ledger
    mechanism, counted = side.mechanism, DENOMINATORS[simulation.config.server.denominator].counts
    # Besides the changes: how many are in the sum, two counts of those not taken; who holds a row.
    length = 3 + (num_items if counted else 0)
    for path, leaf in flatten(shared).items():
        if mechanism is None or mechanism.weight(path):
            length += leaf.size
    if mechanism and mechanism.quantile:
        length += 1
    own = {field.name: getattr(ledger, field.name) for field in fields(ledger)}
    return SecureLedger(**own, length=length)


def costs_of_clients(simulation: Simulation) -> ClientCosts | None:
    """What a client's device computes and keeps; None for a centralised trainer, without any."""
    if simulation.spec.centralized:
        return None
    params = params_shapes(simulation.model, simulation.population.buckets[0].values.dtype)
    side, spec = simulation.federation.side, simulation.spec
    carried = Parts(*map(num_moments, side.training.optimizer))
    own = parts_on(simulation.model, spec.private_sides)
    private = {name: part for name, part in params.items() if name in own}
    population, clients = simulation.population, simulation.population.trainable
    return client_costs(
        {} if side.stateless else private,
        traffic_ledger(simulation),
        population.rows[clients],
        np.bincount(population.client_of_user)[clients],
        simulation.model,
        side.training.local_epochs * (2 if spec.two_models else 1),
        (carried.private * side.carry.private, carried.shared * side.carry.shared),
        side.keeps_residual,
        simulation.config.data.center in EFFECTS,
    )


def traffic_before(simulation: Simulation) -> Traffic:
    """The traffic of the sums before the first round, for standardisation, output bias, and cold
    pairs."""
    data, population = simulation.config.data, simulation.population
    client, num_items = simulation.config.client, simulation.model.num_items
    bias, drawn = simulation.config.model.output_bias, simulation.task.draws_negatives
    decoys = simulation.config.privacy.upload == "decoy"
    up, down = sums_per_row(data.center)
    scaled = data.standardize and simulation.task.adds_center
    up_once, down_once = sums_per_client(data.center, scaled)
    if bias == "item":  # a sum, and how many rated the item if that is not known yet
        up += 1 if data.center in EFFECTS or decoys else 2
    if client.weighting == "ratings" or client.ridge:  # the ratings of the mean user
        up_once, down_once = up_once + 1, down_once + 1
    if bias != "zero":  # the mean
        up_once, down_once = up_once + 2, down_once + 1
    by_popularity = drawn and data.negative_sampling == "popularity"
    if by_popularity:  # of all items, to draw by
        up, down_once = up + 1, down_once + num_items
    known = bias == "item" or data.center in EFFECTS or by_popularity
    if simulation.fallback and not known:
        up += simulation.task.cold.sums
    if decoys:  # likewise, by how many rated an item
        up, down_once = up + (data.center not in EFFECTS), down_once + num_items
        # Numbers for items that it has rated would tell which: it sends one for every item.
        up, up_once = 0, up_once + up * num_items
    ledger, rows = traffic_ledger(simulation), population.rows[population.trainable]
    if not isinstance(ledger, SecureLedger):
        return ledger.start_traffic(rows, (up, down), (up_once, down_once))
    if simulation.plan:  # those sums are none of these, but the noised ones
        releases = simulation.plan.releases
        popularity = simulation.popularity is not None
        up, down = sums_of(data.center, releases - popularity, num_items)
        up, down = up + popularity * (num_items + 1), down + popularity * num_items
        return ledger.traffic_of_sums(len(rows), releases, up, down)
    # One for each number up of a row, with most numbers of a client beside them.
    sums = max(up, int(up_once > 0)) + waiting_sums(data.center, scaled)
    return ledger.traffic_of_sums(
        len(rows), sums, up=up * num_items + up_once, down=down * num_items + down_once
    )
