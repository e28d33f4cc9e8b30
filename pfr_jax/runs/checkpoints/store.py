"""Checkpoints of one run: saved, found again, and refused where they are not this run's."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.errors import InputError
from pfr_jax.models.item_rows import tree_bytes
from pfr_jax.population.devices import EVERYWHERE, put
from pfr_jax.runs.checkpoints import clients, steps
from pfr_jax.runs.checkpoints.identity import differences, identity
from pfr_jax.runs.checkpoints.steps import DamagedStep, Step
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.rounds import state_shapes
from pfr_jax.simulation.setup import Simulation

BYTES_PER_SECOND = 3e8  # written, hashed and on the disk; a guess until it has been measured
Content = dict[str, Any]
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Saved:
    """A good step and what the caller stored in it."""

    step: Step
    common: Arrays  # all of the step's arrays that are no client's

    @property
    def round(self) -> int:
        return self.step.round

    @property
    def settings(self) -> Content:
        """Of the run, when it was written."""
        return self.step.content["identity"]["settings"]

    @property
    def content(self) -> Content:
        return self.step.content["content"]

    @property
    def arrays(self) -> Arrays:
        return {name: a for name, a in self.common.items() if not name.startswith("state.")}


class Checkpoints:
    """The checkpoints of ``simulation`` in ``folder``, the last ``keep`` of them.

    Every process calls every method; the folder is common to all.
    """

    def __init__(self, folder: Path, simulation: Simulation, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._simulation = simulation
        self._shapes = state_shapes(
            simulation.algorithm, simulation.model, simulation.population.buckets
        )
        self._identity = identity(simulation, clients.leaf_types(self._shapes.clients))
        # Of the newest step: rounds per client (of this process), its slices with their sums, and
        # how many clients these hold, clients in several slices several times.
        self._rounds = np.zeros(simulation.population.num_clients, np.int64)
        self._newest: Step | None = None
        self._entries = 0

    @property
    def expected_seconds(self) -> float:
        """What writing all clients should take."""
        return tree_bytes(self._shapes.clients) / jax.process_count() / BYTES_PER_SECOND

    def save(self, round: int, state: FederationState, content: Content, arrays: Arrays) -> None:
        """Writes a step and removes the oldest. Raises InputError if it cannot be written.

        Only clients that have changed since the newest step are written, unless the slices to
        read would then hold more than twice as many clients as there are.
        """
        try:
            self._save(round, state, content, arrays)
        except InputError:
            raise
        except Exception as error:  # tensorstore's errors have no class of their own
            # What was written is left to the next start: Orbax's threads may still be at it.
            good = [path.name for path in steps.step_paths(self.folder)]
            text = getattr(error, "strerror", None) or str(error).split("\n")[0]
            raise InputError(
                f"the checkpoint of round {round} cannot be written to {self.folder}: {text}. "
                f"{f'{good[-1]} is whole' if good else 'There is no earlier one'}; see "
                "--resume, --keep_checkpoints and --nocheckpoints"
            ) from error

    def _save(self, round: int, state: FederationState, content: Content, arrays: Arrays) -> None:
        population = self._simulation.population
        now = clients.rounds_of_clients(state.clients, population)
        changed, live = _over_processes(np.array([(now != self._rounds).sum(), (now > 0).sum()]))
        grows = self._newest is not None and self._entries + changed <= 2 * live
        known = self._rounds if grows else np.zeros_like(now)
        partial = steps.partial_path(self.folder, round)
        if jax.process_index() == 0:
            steps.begin_step(partial)
        _wait("begun")
        packs = clients.packed(clients.slices(state.clients, population, known))
        with ThreadPoolExecutor(1) as beside:
            hashed = []
            for number, pack in enumerate(packs):
                name = f"clients_{jax.process_index()}_{number:05d}"
                steps.save_arrays(partial / name, pack)
                hashed.append(beside.submit(steps.sums_of, partial, name))
            sums = {name: total for one in hashed for name, total in one.result().items()}
        _wait("written")
        entries = self._entries + int(changed) if grows else int(live)
        if jax.process_index() == 0:
            earlier = self._newest if grows else None
            slices, lent = _lent_by(earlier) if earlier else ([], {})
            own = sorted(path.name for path in partial.glob("clients_*"))
            steps.save_arrays(partial / steps.COMMON, _common(state, arrays))
            made = {
                "round": round,
                "identity": self._identity,
                "slices": [*slices, *own],
                "entries": entries,
                "content": content,
            }
            steps.finish_step(partial, made, sums | lent)
            paths = steps.step_paths(self.folder)
            paths = [
                path for path in paths if path.name <= steps.step_path(self.folder, round).name
            ]
            steps.prune(self.folder, paths[-self.keep :])
        _wait("finished")
        self._newest = steps.unverified(steps.step_path(self.folder, round))
        self._rounds, self._entries = now, entries

    def latest(self, tell: Callable[[str], None], up_to: int | None = None) -> Saved | None:
        """The newest good step; None if there is none at all. Damaged ones are told of.

        ``up_to``: of those up to this round.

        Raises InputError if all are damaged, or if the step is of another run.
        """
        if jax.process_index() == 0:
            steps.remove_partial(self.folder)
        step = self._agreed(tell, up_to)
        if step is None:
            return None
        if different := differences(step.content["identity"], self._identity):
            raise InputError(f"{step.path} is of another run: {'; '.join(different)}")
        return Saved(step, step.common())

    def _agreed(self, tell: Callable[[str], None], up_to: int | None) -> Step | None:
        """``newest_good``; with several processes, what the first of them finds."""
        if jax.process_count() == 1:
            return newest_good(self.folder, tell, up_to)
        found, step, error = -1, None, None
        if jax.process_index() == 0:
            try:
                step = newest_good(self.folder, tell, up_to)
                found = step.round if step else -1
            except InputError as damage:
                found, error = -2, damage
        found = int(multihost_utils.broadcast_one_to_all(np.int32(found)))
        if found == -2:
            raise error or InputError(f"{self.folder}: no checkpoint can be used")
        if step is None and found >= 0:
            step = steps.unverified(steps.step_path(self.folder, found))
        return step

    def restore(self, saved: Saved) -> FederationState:
        """The federation as it was saved, on the devices of now."""
        simulation, step = self._simulation, saved.step
        population = simulation.population

        def saved_leaf(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            kept = saved.common.get(_name(path))
            if kept is None and leaf.size == 0:
                return np.zeros(leaf.shape, leaf.dtype)
            if kept is None or (kept.shape, kept.dtype) != (leaf.shape, leaf.dtype):
                raise InputError(f"{step.path} has no {_name(path)} of {leaf.dtype}{leaf.shape}")
            return kept

        near = replace(self._shapes, clients=())
        found = jax.tree_util.tree_map_with_path(saved_leaf, near)
        state = initial_state(simulation, {**found.start, **found.server.shared})
        placed = put(found, population.mesh, EVERYWHERE)
        states = clients.put_back(state.clients, population, _client_slices(step))
        state = replace(placed, clients=states)
        self._rounds = clients.rounds_of_clients(states, population)
        self._newest, self._entries = step, step.content["entries"]
        return state


def newest_good(folder: Path, tell: Callable[[str], None], up_to: int | None = None) -> Step | None:
    """The newest step (of those ``up_to`` a round) that is not damaged; None if there is none.

    Raises InputError if all are damaged.
    """
    damage: DamagedStep | None = None
    last = steps.step_path(folder, up_to).name if up_to is not None else "~"
    for path in reversed([path for path in steps.step_paths(folder) if path.name <= last]):
        try:
            return steps.verified(path)
        except DamagedStep as error:
            damage = damage or error
            tell(f"{path.name} is damaged and not used. {error}")
    if damage:
        raise InputError(f"no checkpoint can be used. {damage}")
    return None


def digest(step: Step) -> str:
    """A SHA-256 of all that a step holds of server and clients.

    It does not depend on which slices, devices or processes the clients were written from.
    """
    total = hashlib.sha256()
    for name, array in sorted(step.common().items()):
        if name.startswith("state."):
            total.update(name.encode() + array.tobytes())
    newest: dict[int, bytes] = {}
    for one in _client_slices(step):
        newest.update(clients.digests(one))
    for client in sorted(newest):
        total.update(client.to_bytes(4, "little") + newest[client])
    return total.hexdigest()


def _client_slices(step: Step) -> Iterator[clients.Slice]:
    """The oldest first."""
    for name in step.content["slices"]:
        yield from clients.unpacked(steps.load_arrays(step.path / name))


def _common(state: FederationState, arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays of a step that are no client's: the server's (``state.``) and the caller's."""
    leaves = jax.tree_util.tree_flatten_with_path(replace(state, clients=()))[0]
    near = {_name(path): np.asarray(leaf.addressable_data(0)) for path, leaf in leaves}
    return {**near, **arrays}


def _name(path: Any) -> str:
    return "state." + jax.tree_util.keystr(path, simple=True, separator=".")


def _lent_by(step: Step) -> tuple[list[str], dict[str, str]]:
    """The slices of a step, the oldest first, and the sums of their files, named from the next."""

    def from_next(name: str) -> str:
        return name if name.startswith("../") else f"../{step.path.name}/{name}"

    sums = {from_next(name): total for name, total in step.sums.items() if "clients_" in name}
    return [from_next(name) for name in step.content["slices"]], sums


def _over_processes(counts: np.ndarray) -> np.ndarray:
    if jax.process_count() == 1:
        return counts
    return np.asarray(multihost_utils.process_allgather(counts)).sum(axis=0)


def _wait(name: str) -> None:
    """Until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"checkpoint {name}")
