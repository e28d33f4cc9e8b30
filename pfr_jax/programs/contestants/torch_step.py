"""One local step of a block of clients in PyTorch, with its backward pass written by hand.

One user per client makes every gradient of a matrix an outer product, which is formed while the
weight is updated and never stored; its norm is the product of two norms. The weights themselves
are materialised and stepped, each client's own. All products have a vector on one side, so the
step is bound by memory, and what matters is that the compiler fuses each update into one pass.
Legend: B clients in the block, L padded items of a client, H and C the hidden sizes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

NORM_EPSILON = 1e-5


class Data(NamedTuple):
    """What a block trains on."""

    ratings: Tensor  # f[B, L], 0 in padding
    weights: Tensor  # f[B, L], derivative of the loss by half the squared error: 2 / L or 0
    squared: Tensor  # f[B, 1], squared norm of the ratings


class Trained(NamedTuple):
    """Weights of a block, or their momentum; stepped in place."""

    first: Tensor  # f[B, L, H], encoder/input/item_kernel
    hidden: Tensor  # f[B, H, C], encoder/linear_1/kernel
    private: Tensor  # f[B, 3H + 3C], the encoder's vectors: bias, scale, bias of both layers
    decoder: Tensor  # f[B, C, H], decoder/linear_0/kernel
    shared: Tensor  # f[B, 3H], the decoder's vectors: bias, scale, bias
    output: Tensor  # f[B, L, H], decoder/output/item_kernel
    output_bias: Tensor  # f[B, L]


class Optimizer(NamedTuple):
    """Settings of SGD and of the clipping before it."""

    learning_rate: float
    momentum: float
    nesterov: bool
    weight_decay: float
    clip_norm: float  # 0: no clipping


def local_step(
    optimizer: Optimizer, data: Data, params: Trained, momentum: Trained, code_scale: Tensor
) -> None:
    """Steps a block in place. ``code_scale`` f[B, C] is dropout's mask over its keep rate."""
    wide, code = params.hidden.shape[1:]
    bias_1, scale_1, shift_1, bias_2, scale_2, shift_2 = params.private.split(
        [wide, wide, wide, code, code, code], 1
    )
    bias_3, scale_3, shift_3 = params.shared.split([wide, wide, wide], 1)

    hidden, *norm_1 = _norm_tanh(_left(data.ratings, params.first) + bias_1, scale_1, shift_1)
    encoded, *norm_2 = _norm_tanh(_left(hidden, params.hidden) + bias_2, scale_2, shift_2)
    kept = encoded * code_scale
    last, *norm_3 = _norm_tanh(_left(kept, params.decoder) + bias_3, scale_3, shift_3)
    error = (_right(params.output, last) + params.output_bias - data.ratings) * data.weights

    at_3, of_3 = _norm_tanh_back(_left(error, params.output), last, scale_3, *norm_3)
    back = _right(params.decoder, at_3) * code_scale
    at_2, of_2 = _norm_tanh_back(back, encoded, scale_2, *norm_2)
    at_1, of_1 = _norm_tanh_back(_right(params.hidden, at_2), hidden, scale_1, *norm_1)

    squared_error = _squared(error)
    norm = torch.sqrt(
        sum(map(_squared, (*of_1, *of_2, *of_3)))
        + squared_error * (1 + _squared(last))
        + (1 + data.squared) * _squared(at_1)
        + (1 + _squared(hidden)) * _squared(at_2)
        + (1 + _squared(kept)) * _squared(at_3)
    )
    clip = optimizer.clip_norm
    factor = clip / norm.clamp(min=clip) if clip else torch.ones_like(norm)
    # Concatenated, these vectors are stored. Else the compiler would work them out again for every
    # entry of an outer product, find that too dear, and store the outer product instead.
    vectors = [vector * factor for vector in (at_1, *of_1, at_2, *of_2, at_3, *of_3)] + [kept]
    private, shared, kept = torch.cat(vectors, 1).split([3 * (wide + code), 3 * wide, code], 1)
    error = error * factor
    gradients = Trained(
        first=_outer(data.ratings, private[:, :wide]),
        hidden=_outer(hidden, private[:, 3 * wide : 3 * wide + code]),
        private=private,
        decoder=_outer(kept, shared[:, :wide]),
        shared=shared,
        output=_outer(error, last),
        output_bias=error,
    )
    for weight, moment, gradient in zip(params, momentum, gradients, strict=True):
        step = gradient + optimizer.weight_decay * weight
        moment.copy_(optimizer.momentum * moment + step)
        ahead = step + optimizer.momentum * moment if optimizer.nesterov else moment
        weight.sub_(optimizer.learning_rate * ahead)


def _left(vector: Tensor, matrix: Tensor) -> Tensor:
    """f[B, n], f[B, n, m] -> f[B, m]."""
    return torch.bmm(vector[:, None], matrix)[:, 0]


def _right(matrix: Tensor, vector: Tensor) -> Tensor:
    """f[B, n, m], f[B, m] -> f[B, n]."""
    return torch.bmm(matrix, vector[:, :, None])[:, :, 0]


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return left[:, :, None] * right[:, None]


def _squared(rows: Tensor) -> Tensor:
    return (rows * rows).sum(1, keepdim=True)


def _norm_tanh(inputs: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Layer norm, affine, tanh: f[B, n]; also the normed values and 1 / deviation f[B, 1]."""
    centred = inputs - inputs.mean(1, keepdim=True)
    inverse = torch.rsqrt((centred * centred).mean(1, keepdim=True) + NORM_EPSILON)
    normed = centred * inverse
    return torch.tanh(normed * scale + bias), normed, inverse


def _norm_tanh_back(
    gradient: Tensor, outputs: Tensor, scale: Tensor, normed: Tensor, inverse: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """From the gradient at the outputs to that at the inputs and those of (scale, bias)."""
    before_tanh = gradient * (1 - outputs * outputs)
    at_normed = before_tanh * scale
    along = (at_normed * normed).mean(1, keepdim=True)
    inputs = inverse * (at_normed - at_normed.mean(1, keepdim=True) - normed * along)
    return inputs, (before_tanh * normed, before_tanh)


def compiled(step: Callable[..., None], device: torch.device, threads: int) -> Callable[..., None]:
    """The step as one fused program for blocks of any shape.

    On a CPU a program uses ``threads`` threads, and its C++ entry lets other Python threads run.
    """
    options: dict[str, Any] = {}
    if device.type == "cpu":
        options |= {"cpp_wrapper": True, "cpp.threads": threads}
    return torch.compile(step, dynamic=True, fullgraph=True, options=options)
