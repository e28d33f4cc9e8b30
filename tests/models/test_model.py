"""Shapes, starting values and views of the autoencoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from federations import leaves_by_name
from oracle import forward

from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.item_rows import take_rows
from pfr_jax.models.model import features, init_params, predict, score_pairs

PAPER = AutoEncoder((256, 128), 1682)  # ML-100K

NOBODY = jnp.zeros((0,))  # no user profile


@pytest.fixture(scope="module")
def paper_params():
    return leaves_by_name(jax.jit(lambda: init_params(PAPER, jax.random.key(0)))())


def test_layers_and_parameter_count_of_the_paper(paper_params):
    assert {name: leaf.shape for name, leaf in paper_params.items()} == {
        "encoder/input/item_kernel": (1682, 256),
        "encoder/input/bias": (256,),
        "encoder/norm_0/scale": (256,),
        "encoder/norm_0/bias": (256,),
        "encoder/linear_1/kernel": (256, 128),
        "encoder/linear_1/bias": (128,),
        "encoder/norm_1/scale": (128,),
        "encoder/norm_1/bias": (128,),
        "decoder/linear_0/kernel": (128, 256),
        "decoder/linear_0/bias": (256,),
        "decoder/norm_0/scale": (256,),
        "decoder/norm_0/bias": (256,),
        "decoder/output/item_kernel": (1682, 256),
        "decoder/output/item_bias": (1682,),
    }
    # Linear layers (in + 1) out, norms 2 out: 430,848 + 512 + 32,896 + 256 encode,
    # 33,024 + 512 + 432,274 decode.
    assert sum(leaf.size for leaf in paper_params.values()) == 464_512 + 465_810


@pytest.mark.parametrize(
    ("name", "fan"),
    [
        ("encoder/input/item_kernel", 1682 + 256),
        ("encoder/linear_1/kernel", 256 + 128),
        ("decoder/linear_0/kernel", 128 + 256),
        ("decoder/output/item_kernel", 256 + 1682),
    ],
)
def test_weights_are_xavier_uniform(paper_params, name, fan):
    """Uniform in +-sqrt(6 / (in + out)), with variance bound^2 / 3."""
    weights, bound = paper_params[name], np.sqrt(6 / fan)
    assert np.abs(weights).max() <= bound
    assert np.abs(weights).max() >= 0.999 * bound
    assert weights.var() == pytest.approx(bound**2 / 3, rel=0.02)
    assert abs(weights.mean()) < 5 * bound / np.sqrt(3 * weights.size)


def test_biases_start_at_zero_and_scales_at_one(paper_params):
    for name, leaf in paper_params.items():
        if name.endswith("bias"):
            assert not leaf.any(), name
        if name.endswith("scale"):
            assert (leaf == 1).all(), name


def test_output_bias_and_dtype():
    params = leaves_by_name(init_params(AutoEncoder((3,), 4), jax.random.key(0), 3.5, jnp.bfloat16))
    assert all(leaf.dtype == jnp.bfloat16 for leaf in params.values())
    assert params["decoder/output/item_bias"].tolist() == [3.5] * 4
    assert not params["encoder/input/bias"].any()


def perturbed(model: AutoEncoder):
    """Parameters of which none is zero or one."""
    params = init_params(model, jax.random.key(3))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: leaf + jnp.asarray(rng.normal(size=leaf.shape, scale=0.3), leaf.dtype), params
    )


@pytest.mark.parametrize("profile_size", [0, 4])
def test_forward_pass_equals_the_plain_one(profile_size):
    model, rng = AutoEncoder((7, 5), 11, profile_size), np.random.default_rng(1)
    params = perturbed(model)
    assert ("profile" in params) == bool(profile_size)
    ratings = rng.normal(size=(3, 11)).astype(np.float32)
    profile = rng.normal(size=(3, profile_size)).astype(np.float32)
    scale = rng.integers(0, 2, (3, 5)).astype(np.float32) * 2
    expected = forward(leaves_by_name(params), ratings, profile, scale)
    actual = jax.vmap(lambda r, p, s: predict(model, params, r, p, s))(ratings, profile, scale)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-5)
    without = predict(model, params, ratings[0], profile[0])
    one = np.ones((1, 5), np.float32)
    expected = forward(leaves_by_name(params), ratings[:1], profile[:1], one)[0]
    np.testing.assert_allclose(without, expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("hidden_sizes", [(6,), (7, 5), (4, 6, 3)])
def test_a_view_on_some_rows_equals_the_full_model_there(hidden_sizes):
    """Depths 1 to 3; the view has padding rows, whose inputs are 0 as everywhere."""
    model = AutoEncoder(hidden_sizes, 11)
    params = perturbed(model)
    own = np.array([1, 4, 9])
    ratings = np.zeros(11, np.float32)
    ratings[own] = [3.0, -1.0, 0.5]
    full = predict(model, params, ratings, NOBODY)
    assert full.shape == (11,)

    items = jnp.array([1, 4, 9, 11, 11])
    view = take_rows(params, items)
    inputs = jnp.array([3.0, -1.0, 0.5, 0.0, 0.0])
    on_view = predict(model, view, inputs, NOBODY)
    assert on_view.shape == (5,)
    np.testing.assert_allclose(on_view[:3], full[own], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(on_view[3:], 0)

    # All output rows from the inputs of some: a client without partial compression.
    mixed = {"encoder": view["encoder"], "decoder": params["decoder"]}
    np.testing.assert_allclose(predict(model, mixed, inputs, NOBODY), full, rtol=1e-5, atol=1e-6)

    hidden = features(model, view, inputs, NOBODY)
    assert hidden.shape == (hidden_sizes[0],)
    every = jnp.arange(11)
    scores = score_pairs(
        params["decoder"]["output"], jnp.broadcast_to(hidden, (11, hidden_sizes[0])), every
    )
    np.testing.assert_allclose(scores, full, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hidden_sizes", [(6,), (4, 6, 3)])
def test_the_decoder_mirrors_the_encoder(hidden_sizes):
    params = leaves_by_name(init_params(AutoEncoder(hidden_sizes, 11), jax.random.key(0)))
    kernels = {name: leaf.shape for name, leaf in params.items() if name.endswith("kernel")}
    depths = zip(hidden_sizes[:-1], hidden_sizes[1:], strict=True)
    expected = {"encoder/input/item_kernel": (11, hidden_sizes[0])}
    for depth, (wide, narrow) in enumerate(depths):
        expected[f"encoder/linear_{depth + 1}/kernel"] = (wide, narrow)
        mirrored = len(hidden_sizes) - 2 - depth
        expected[f"decoder/linear_{mirrored}/kernel"] = (narrow, wide)
    expected["decoder/output/item_kernel"] = (11, hidden_sizes[0])
    assert kernels == expected
