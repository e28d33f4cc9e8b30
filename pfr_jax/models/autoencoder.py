"""The autoencoder recommender of PersonalFR (Le et al., arXiv 2212.08779, component ARS).

Encoder I -> 256 -> 128, decoder 128 -> 256 -> I (widths configurable). Every hidden linear
layer is followed by layer norm (a group norm of one group) and tanh; the output layer is
linear; dropout acts on the code only. A second encoder of the user's profile, with the same widths,
may add its output to the code before dropout.

Everything is written for one user; callers map it over users. The same modules run on all items
and on a client's view of L of them.
"""

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax

from pfr_jax.algorithms.spec import Side
from pfr_jax.models.layers import ItemInput, ItemOutput, Linear, NormTanh
from pfr_jax.models.model import Params


class Encoder(nn.Module):
    """Ratings to code. f[L] -> f[hidden_sizes[-1]]; the private part."""

    hidden_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, ratings: jax.Array) -> jax.Array:
        hidden = NormTanh(name="norm_0")(ItemInput(self.hidden_sizes[0], name="input")(ratings))
        for depth, size in enumerate(self.hidden_sizes[1:], start=1):
            hidden = NormTanh(name=f"norm_{depth}")(Linear(size, name=f"linear_{depth}")(hidden))
        return hidden


class ProfileEncoder(nn.Module):
    """User profile to an addition to the code. f[P] -> f[hidden_sizes[-1]]."""

    hidden_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, profile: jax.Array) -> jax.Array:
        for depth, size in enumerate(self.hidden_sizes):
            profile = NormTanh(name=f"norm_{depth}")(Linear(size, name=f"linear_{depth}")(profile))
        return profile


class Decoder(nn.Module):
    """Code to predictions. f[hidden_sizes[-1]] -> f[num_items]; the shared part."""

    hidden_sizes: tuple[int, ...]
    num_items: int

    def setup(self) -> None:
        sizes = self.hidden_sizes[-2::-1]
        self.linear = [Linear(size) for size in sizes]
        self.norm = [NormTanh() for _ in sizes]
        self.output = ItemOutput(self.num_items)

    def features(self, code: jax.Array) -> jax.Array:
        """What the output layer sees: f[hidden_sizes[0]]."""
        for linear, norm in zip(self.linear, self.norm, strict=True):
            code = norm(linear(code))
        return code

    def __call__(self, code: jax.Array) -> jax.Array:
        return self.output(self.features(code))


class AutoEncoder(nn.Module):
    """Encoder (and profile encoder), dropout on the code, decoder."""

    hidden_sizes: tuple[int, ...]
    num_items: int
    profile_size: int = 0  # P, entries of a user's profile; 0: no profile encoder

    # The profile encoder is averaged with the decoder, as in the authors' code.
    sides: ClassVar[Mapping[str, Side]] = {"encoder": "user", "decoder": "item", "profile": "item"}
    per_user = False
    members = 1
    layered = True

    @property
    def code_size(self) -> int:
        return self.hidden_sizes[-1]

    @property
    def feature_size(self) -> int:
        return self.hidden_sizes[0]

    @property
    def input_width(self) -> int:
        return self.hidden_sizes[0]

    @property
    def hidden_weights(self) -> int:
        sizes = self.hidden_sizes
        return 2 * sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))

    def setup(self) -> None:
        self.encoder = Encoder(self.hidden_sizes)
        if self.profile_size:
            self.profile = ProfileEncoder(self.hidden_sizes)
        self.decoder = Decoder(self.hidden_sizes, self.num_items)

    def code(self, ratings: jax.Array, profile: jax.Array) -> jax.Array:
        """The code f[hidden_sizes[-1]] of a user, without dropout."""
        code = self.encoder(ratings)
        return code + self.profile(profile) if self.profile_size else code

    def __call__(
        self, ratings: jax.Array, profile: jax.Array, code_scale: jax.Array | None = None
    ) -> jax.Array:
        """Predictions f[num_items] from ratings f[L], 0 where nothing was rated.

        ``profile`` is f[P]; ``code_scale`` (f[code]) multiplies the code: dropout's mask over
        its keep rate.
        """
        code = self.code(ratings, profile)
        return self.decoder(code if code_scale is None else code * code_scale)

    def features(self, ratings: jax.Array, profile: jax.Array) -> jax.Array:
        """What the output layer sees, without dropout: f[hidden_sizes[0]]."""
        return self.decoder.features(self.code(ratings, profile))

    @staticmethod
    def output_rows(output: Params, one: float = 1.0) -> Params:
        """The rows that features are multiplied with: the output layer's own."""
        del one
        return output
