"""What is mapped with something else, and what is not."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from pfr_jax.client.mapped import mapped_like

ROWS = jnp.arange(6.0).reshape(2, 3)


def begin(like: jax.Array) -> dict[str, jax.Array]:
    return mapped_like({"rows": like}, {"zero": jnp.zeros(2), "like": like})


def test_it_is_the_tree_itself() -> None:
    found = begin(ROWS)
    assert found["zero"].tolist() == [0, 0] and (found["like"] == ROWS).all()


def test_all_of_it_is_mapped_with_any_of_the_other() -> None:
    # What is not mapped may be given out without an axis, what is may not.
    with pytest.raises(ValueError, match="out_axes"):
        jax.vmap(begin, out_axes={"zero": None, "like": 0})(ROWS)
    assert jax.vmap(begin)(ROWS)["zero"].shape == (2, 2)


def test_it_is_not_mapped_if_nothing_is() -> None:
    def one(row: jax.Array) -> dict[str, jax.Array]:
        return mapped_like(ROWS[0], {"row": row, "zero": jnp.zeros(2)})

    found = jax.vmap(one, out_axes={"row": 0, "zero": None})(ROWS)
    assert found["zero"].shape == (2,) and (found["row"] == ROWS).all()


@pytest.mark.parametrize("axes", [((0, None), (None, 0)), ((None, 0), (0, None))])
def test_each_of_two_mappings(axes: tuple[tuple[int | None, ...], ...]) -> None:
    inner, outer = axes
    both = jax.vmap(jax.vmap(lambda a, b: mapped_like((a, b), jnp.zeros(())), inner), outer)
    assert both(ROWS[0], ROWS[:, 0]).size == 6
    with pytest.raises(ValueError, match="out_axes"):
        one = jax.vmap(lambda a, b: mapped_like((a, b), jnp.zeros(())), inner)
        jax.vmap(one, outer, out_axes=None)(ROWS[0], ROWS[:, 0])


def test_a_loop_from_there_is_traced_once_for_a_mapping() -> None:
    """Counted by a rule of batching in the loop."""
    counted = []

    @jax.custom_batching.custom_vmap
    def add(total: jax.Array, x: jax.Array) -> jax.Array:
        return total + x

    @add.def_vmap
    def _(size: int, mapped: list[bool], total: jax.Array, x: jax.Array) -> tuple[jax.Array, bool]:
        counted.append(mapped)
        return total + x, True

    def total(like_it: bool, row: jax.Array) -> jax.Array:
        zero = jnp.zeros(())
        begin = mapped_like(row, zero) if like_it else zero
        return jax.lax.scan(lambda sum, x: (add(sum, x), None), begin, row)[0]

    for like_it, times in ((False, 2), (True, 1)):
        counted.clear()
        assert jax.vmap(partial(total, like_it))(ROWS).tolist() == [3, 12]
        assert len(counted) == times
