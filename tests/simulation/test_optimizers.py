"""Optimizers and schedules by hand, and against the recursions their papers and docs state."""

import math

import jax
import jax.numpy as jnp
import optax
import pytest

from pfr_jax.config import ClientConfig, ServerConfig
from pfr_jax.simulation.optimizers import client_learning_rate, client_optimizers, server_optimizer

# optax's Adam raises a float to an integer count, which strict promotion refuses.
optax_promotes = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


def local_steps(config: ClientConfig, weight: float, gradients: list[float], rate: float):
    """The weight after each local step, as client training applies the updates."""
    optimizer = client_optimizers(config, 8.0).shared
    params = {"w": jnp.float32(weight)}
    state = optimizer.init(params)
    path = []
    for gradient in gradients:
        updates, state = optimizer.update({"w": jnp.float32(gradient)}, state, params)
        params = {"w": params["w"] + jnp.float32(rate) * updates["w"]}
        path.append(float(params["w"]))
    return path


def torch_sgd(weight, gradients, rate, momentum, decay, nesterov):
    """The recursion in the documentation of torch.optim.SGD (dampening 0)."""
    buffer, path = 0.0, []
    for gradient in gradients:
        gradient = gradient + decay * weight
        buffer = momentum * buffer + gradient
        weight -= rate * (gradient + momentum * buffer if nesterov else buffer)
        path.append(weight)
    return path


def test_three_steps_by_hand():
    """Rate 0.1, momentum 0.5, decay 0.25, Nesterov, from weight 2 with gradients 1, -1, 0.

    g = 1 + 0.5 = 1.5, b = 1.5, w = 2 - 0.1 (1.5 + 0.75) = 1.775;
    g = -1 + 0.44375 = -0.55625, b = 0.75 - 0.55625 = 0.19375,
      w = 1.775 - 0.1 (-0.55625 + 0.096875) = 1.8209375;
    g = 0.455234375, b = 0.096875 + 0.455234375 = 0.552109375,
      w = 1.8209375 - 0.1 (0.455234375 + 0.2760546875) = 1.74780859375.
    """
    config = ClientConfig(momentum=0.5, weight_decay=0.25, ridge=0.0)
    path = local_steps(config, 2.0, [1.0, -1.0, 0.0], 0.1)
    assert path == pytest.approx([1.775, 1.8209375, 1.74780859375], rel=1e-6)
    # 1.2 ratings of 8 are 0.15, which comes on top of 0.1.
    in_ratings = ClientConfig(momentum=0.5, weight_decay=0.1, ridge=1.2)
    assert local_steps(in_ratings, 2.0, [1.0, -1.0, 0.0], 0.1) == pytest.approx(path)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 5e-4, 0.1])
def test_sgd_is_torchs(nesterov, momentum, decay):
    gradients = [0.3, -2.0, 0.7, 0.0, 1.1]
    config = ClientConfig(momentum=momentum, weight_decay=decay, nesterov=nesterov, ridge=0.0)
    expected = torch_sgd(-1.5, gradients, 0.1, momentum, decay, nesterov)
    assert local_steps(config, -1.5, gradients, 0.1) == pytest.approx(expected, rel=1e-5)


@optax_promotes
@pytest.mark.parametrize(
    ("name", "first_step"),
    [
        # Bias-corrected moments of one gradient are itself and its square: a step of the rate.
        ("adam", -1.0),
        # optax starts Adagrad's sum of squares at 0.1: 2 / sqrt(0.1 + 2^2).
        ("adagrad", -2 / math.sqrt(4.1)),
        # RMSprop's mean of squares after one step is (1 - 0.9) 2^2.
        ("rmsprop", -2 / math.sqrt(0.4)),
    ],
)
def test_first_step_of_the_others(name, first_step):
    config = ClientConfig(client_optimizer=name, weight_decay=0.5, ridge=0.0)
    # Decay is coupled: the gradient seen is 1.5 + 0.5 * 1 = 2.
    (weight,) = local_steps(config, 1.0, [1.5], 0.01)
    assert weight == pytest.approx(1 + 0.01 * first_step, rel=1e-5)


@pytest.mark.parametrize("rounds", [4, 800])
def test_cosine_annealing(rounds):
    """eta/2 (1 + cos(pi r / R)): eta in the first round, half of it half-way, 0 after the last."""
    rate = client_learning_rate(ClientConfig(client_learning_rate=0.3), rounds)
    assert float(rate(0.0)) == pytest.approx(0.3)
    assert float(rate(rounds / 4)) == pytest.approx(0.15 * (1 + math.sqrt(0.5)), rel=1e-5)
    assert float(rate(rounds / 2)) == pytest.approx(0.15, rel=1e-5)
    assert 0 < float(rate(rounds - 1.0)) < 0.3 * 0.15
    assert float(rate(float(rounds))) == pytest.approx(0.0, abs=1e-7)


def test_constant_rate():
    rate = client_learning_rate(ClientConfig(schedule="constant", client_learning_rate=0.3), 10)
    assert [float(rate(r)) for r in (0.0, 5.0, 9.0)] == pytest.approx([0.3] * 3)


def server_steps(config: ServerConfig, changes: list[float]) -> list[float]:
    optimizer, shared = server_optimizer(config), {"w": jnp.float32(1.0)}
    state = optimizer.init(shared)
    path = []
    for change in changes:
        updates, state = optimizer.update({"w": jnp.float32(-change)}, state, shared)
        shared = optax.apply_updates(shared, updates)
        path.append(float(shared["w"]))
    return path


def test_the_papers_server_adds_the_mean_change():
    plain = ServerConfig(server_learning_rate=1.0, server_momentum=0.0)
    assert server_steps(plain, [0.5, -2.0]) == [1.5, -0.5]


def test_server_momentum_by_hand():
    # b = 0.5, then 0.5 * 0.5 - 2 = -1.75; each times 0.1.
    config = ServerConfig(server_learning_rate=0.1, server_momentum=0.5)
    assert server_steps(config, [0.5, -2.0]) == pytest.approx([1.05, 0.875], rel=1e-6)


@optax_promotes
def test_server_adam_steps_by_its_rate_in_the_direction_of_the_change():
    config = ServerConfig(server_optimizer="adam", server_learning_rate=0.25)
    assert server_steps(config, [0.003])[0] == pytest.approx(1.25, rel=1e-4)
    assert server_steps(config, [-7.0])[0] == pytest.approx(0.75, rel=1e-4)
