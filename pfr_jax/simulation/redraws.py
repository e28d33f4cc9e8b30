"""Negatives drawn anew in every round (--negatives_drawn=each_round).

A client has as many rows in every round, of its choices and of as many drawn items, so the tables
keep their shapes and nothing is compiled again: before a round the rows of its cohort are written
anew. Nothing else has to know, as long as no client keeps anything of its rows from round to round.
A private encoder does not: it is given choices alone, which are in all of its client's rounds. The
figures of a round are those of features that depend on choices alone, too.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.evaluation.task import Draws
from pfr_jax.population.devices import BY_CLIENT, on_every_device, put
from pfr_jax.population.population import Bucket, Cohort
from pfr_jax.simulation.setup import Simulation

Tables = tuple[jax.Array, jax.Array, jax.Array]  # items, values and observed of a bucket


class Redraws:
    """The data of one round after the other. It keeps tables of its own, which it writes to."""

    def __init__(self, simulation: Simulation) -> None:
        config, split, population = simulation.config, simulation.split, simulation.population
        draws = Draws(
            *(config.data.negatives, config.data.negative_sampling),
            *(config.run.seed, ~simulation.new_users),
        )
        held = np.sort(np.concatenate([split.train, split.support]))
        self._choices = draws.choices(simulation.ratings, held, simulation.target)
        self._standard, self._mesh = simulation.standard, population.mesh
        self._num_items, self._num_users = simulation.ratings.num_items, population.num_users
        self._users = [np.asarray(bucket.users)[:, 0] for bucket in population.buckets]
        self._buckets = tuple(
            _with_tables(bucket, jax.tree.map(jnp.copy, _tables(bucket)))
            for bucket in population.buckets
        )
        self._write = jax.jit(
            on_every_device(_write, self._mesh, (BY_CLIENT,) * 3, BY_CLIENT), donate_argnums=0
        )

    def of_round(self, round: int, cohort: Cohort) -> tuple[Bucket, ...]:
        """All clients' data, with new negatives for those of the cohort; ``round`` from 0.

        What was returned before is used up.
        """
        parts = zip(self._buckets, self._users, cohort.slots, strict=True)
        self._buckets = tuple(self._redrawn(round, *part) for part in parts)
        return self._buckets

    def _redrawn(self, round: int, bucket: Bucket, users: np.ndarray, slots: jax.Array) -> Bucket:
        """A bucket with new rows at ``slots``; ``users`` i32[Nb] has its clients' users."""
        of_device = len(bucket) // self._mesh.size
        slot = np.asarray(slots).reshape(self._mesh.size, -1)
        used = slot < of_device
        place = (slot + of_device * np.arange(self._mesh.size)[:, None])[used]
        rows = self._rows(round, users[place], np.flatnonzero(used), slot.size, bucket)
        return _with_tables(bucket, self._write(_tables(bucket), slots, put(rows, self._mesh)))

    def _rows(
        self, round: int, users: np.ndarray, places: np.ndarray, count: int, bucket: Bucket
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tables of ``count`` clients, those of ``users`` i[n] at ``places`` i[n]."""
        length, dtype = bucket.items.shape[1], bucket.values.dtype
        found = self._choices.with_drawn(np.sort(users), round)
        order = np.lexsort((found.item, found.user))  # rows ascend by item
        user, item, target = found.user[order], found.item[order], found.target[order]
        place_of = np.zeros(self._num_users, np.int64)
        place_of[users] = places
        row, column = place_of[user], np.arange(len(user)) - np.searchsorted(user, user)
        items = np.full((count, length), self._num_items, np.int32)
        values, observed = np.zeros((count, 1, length), dtype), np.zeros((count, 1, length), bool)
        items[row, column] = item
        values[row, 0, column] = self._standard.values(target, user, item)
        observed[row, 0, column] = True
        return items, values, observed


def _tables(bucket: Bucket) -> Tables:
    return bucket.items, bucket.values, bucket.observed


def _with_tables(bucket: Bucket, tables: Tables) -> Bucket:
    items, values, observed = tables
    return dataclasses.replace(bucket, items=items, values=values, observed=observed)


def _write(tables: Tables, slots: jax.Array, rows: Tables) -> Tables:
    """One device's tables with these rows at ``slots``; those beyond the last are dropped."""
    return jax.tree.map(lambda table, new: table.at[slots].set(new, mode="drop"), tables, rows)
