"""Bytes between clients and server, counted from the arrays that cross the boundary.

Down, a client receives the shared part on its rows; up, it hands over the change of the same
arrays, weight matrices as heavy as their compressor says. With partial compression it also names
its rows once, in its request, as int32 indices; rows then travel in that order, so nothing is
indexed on the way down. Padding is not sent. Where nothing is shared nothing travels.
"""

from dataclasses import dataclass

import jax
import numpy as np

from pfr_jax.client import compressors
from pfr_jax.client.compressors import FLOAT_BYTES, Compressor
from pfr_jax.client.factored.coefficients import num_moments
from pfr_jax.client.local_training import Parts
from pfr_jax.data.standard import EFFECTS, sums_per_client, sums_per_row
from pfr_jax.models.item_rows import Tree, map_rows, of_items
from pfr_jax.models.model import Model, parts_on
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import initial_params

INDEX_BYTES = 4  # an item index, int32
RATING_BYTES = 8  # an item index and a rating


@dataclass(frozen=True)
class Traffic:
    """Bytes of a round, or of several added up."""

    payload_up: int = 0
    index_up: int = 0
    payload_down: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            self.payload_up + other.payload_up,
            self.index_up + other.index_up,
            self.payload_down + other.payload_down,
        )

    @property
    def up(self) -> int:
        return self.payload_up + self.index_up

    @property
    def down(self) -> int:
        return self.payload_down


@dataclass(frozen=True)
class Ledger:
    """What one client and one of its rows weigh."""

    dense_bytes: int  # all shared leaves that are not per item
    row_bytes: int  # the item leaves, per item
    num_items: int
    partial_compression: bool
    compressor: Compressor | None = None
    # Of the weight matrices that go through it: (rows, width); rows None: one per item.
    matrices: tuple[tuple[int | None, int], ...] = ()

    def start_traffic(
        self, rows: np.ndarray, per_row: tuple[int, int], per_client: tuple[int, int]
    ) -> Traffic:
        """Of sums over clients with ``rows`` i64[N] items, before the first round.

        ``per_row`` and ``per_client`` are the numbers up and down of each. Where there are numbers
        of rows a client names its rows, once.
        """
        total, clients = int(rows.sum()), len(rows)
        up, down = (
            FLOAT_BYTES * (of_row * total + of_client * clients)
            for of_row, of_client in zip(per_row, per_client, strict=True)
        )
        return Traffic(up, INDEX_BYTES * total if any(per_row) else 0, down)

    def round_traffic(self, asked: np.ndarray, delivered: np.ndarray) -> Traffic:
        """The traffic of a round; the rows (i64[...]) that each client holds who is asked, and of
        those that deliver. All that are asked receive; what is sent too late is not counted."""
        names_rows = self.partial_compression and self.row_bytes > 0
        indices = INDEX_BYTES * int(asked.sum()) if names_rows else 0
        payload = int(self.of_uploads(delivered).sum())
        return Traffic(payload, indices, int(self.of_views(asked).sum()))

    def of_views(self, rows: np.ndarray) -> np.ndarray:
        """Bytes i64[N] of clients' views of the shared part, which have ``rows`` i64[N] each."""
        return self.dense_bytes + self._rows(rows) * self.row_bytes

    def of_uploads(self, rows: np.ndarray) -> np.ndarray:
        """Bytes i64[N] of what these clients hand over."""
        total, of_client = self.of_views(rows), self._rows(rows)
        if self.compressor is None:
            return total
        for count, width in self.matrices:
            there = of_client if count is None else np.full_like(of_client, count)
            total += self.compressor.num_bytes(there, width) - there * width * FLOAT_BYTES
        return total

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        """How many rows travel, i64[N]."""
        return rows if self.partial_compression else np.full_like(rows, self.num_items)


def shared_ledger(
    shared: Tree, num_items: int, partial_compression: bool, compressor: Compressor | None = None
) -> Ledger:
    """The ledger for this shared part (arrays or their shapes)."""
    matrices = tuple(
        (None if of_items(name) else leaf.shape[0], compressors.width(leaf))
        for name, leaf in compressors.matrices(shared).items()
    )
    size = weights(shared, num_items)
    return Ledger(*size, num_items, partial_compression, compressor, matrices)


def weights(part: Tree, num_items: int) -> tuple[int, int]:
    """Bytes of a part of the model (arrays or their shapes): what is not per item, and per item."""

    def nbytes(leaf: jax.ShapeDtypeStruct) -> int:
        return leaf.size * leaf.dtype.itemsize

    def total(tree: Tree) -> int:
        return sum(jax.tree.leaves(tree))

    dense = total(map_rows(lambda leaf: 0, nbytes, part))
    rows = total(map_rows(lambda leaf: nbytes(leaf) // num_items, lambda leaf: 0, part))
    return dense, rows


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
    params = jax.eval_shape(lambda: initial_params(simulation))
    shared = {name: part for name, part in params.items() if name in simulation.algorithm.shared}
    if simulation.spec.centralized:  # its ratings are where it is
        shared = {}
    side = simulation.federation.side
    return shared_ledger(
        shared, simulation.model.num_items, side.partial_compression, side.compressor
    )


def costs_of_clients(simulation: Simulation) -> ClientCosts | None:
    """What a client's device computes and keeps; None for a centralised trainer, without any."""
    if simulation.spec.centralized:
        return None
    params = jax.eval_shape(lambda: initial_params(simulation))
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
    """The traffic of the sums before the first round, for standardisation and output bias."""
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
    if drawn and data.negative_sampling == "popularity":  # of all items, to draw by
        up, down_once = up + 1, down_once + num_items
    if decoys:  # likewise, by how many rated an item
        up, down_once = up + (data.center not in EFFECTS), down_once + num_items
        # Numbers for items that it has rated would tell which: it sends one for every item.
        up, up_once = 0, up_once + up * num_items
    rows = population.rows[population.trainable]
    return traffic_ledger(simulation).start_traffic(rows, (up, down), (up_once, down_once))
