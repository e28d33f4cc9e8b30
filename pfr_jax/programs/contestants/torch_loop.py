"""PyTorch as the paper's authors ran it: one client at a time, each a whole dense model.

Autograd, ``clip_grad_norm_`` and ``torch.optim.SGD`` on all I x H weights of both item layers.
Partial compression only touches what the server takes: the decoder's rows of other items get no
gradient and never reach this client's outputs, so that they decay on the client is of no
consequence, and the server sums the client's own rows alone.
Legend: I items, H and C the hidden sizes, L items of a client.
"""

import time

import numpy as np
import torch
from torch import nn

from pfr_jax.programs.contestants.workload import Workload

# Our path of each parameter by its name in the module.
PATHS = {
    "encoder.0.weight": "encoder/input/item_kernel",
    "encoder.0.bias": "encoder/input/bias",
    "encoder.1.weight": "encoder/norm_0/scale",
    "encoder.1.bias": "encoder/norm_0/bias",
    "encoder.3.weight": "encoder/linear_1/kernel",
    "encoder.3.bias": "encoder/linear_1/bias",
    "encoder.4.weight": "encoder/norm_1/scale",
    "encoder.4.bias": "encoder/norm_1/bias",
    "decoder.0.weight": "decoder/linear_0/kernel",
    "decoder.0.bias": "decoder/linear_0/bias",
    "decoder.1.weight": "decoder/norm_0/scale",
    "decoder.1.bias": "decoder/norm_0/bias",
    "decoder.3.weight": "decoder/output/item_kernel",
    "decoder.3.bias": "decoder/output/item_bias",
}
# nn.Linear keeps f[out, in], so these are transposed; the output layer's rows agree with ours.
TRANSPOSED = {"encoder.0.weight", "encoder.3.weight", "decoder.0.weight"}


class AutoEncoder(nn.Module):
    """Ratings f[1, I] to predictions f[1, I]."""

    def __init__(self, num_items: int, wide: int, code: int, dropout: float) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(num_items, wide),
            nn.GroupNorm(1, wide),
            nn.Tanh(),
            nn.Linear(wide, code),
            nn.GroupNorm(1, code),
            nn.Tanh(),
        )
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Sequential(
            nn.Linear(code, wide),
            nn.GroupNorm(1, wide),
            nn.Tanh(),
            nn.Linear(wide, num_items),
        )

    def forward(self, ratings: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.dropout(self.encoder(ratings)))


class Contestant:
    """A model and an optimizer per client, made when the client is first sampled."""

    def __init__(self, workload: Workload, device: str = "cpu", block_size: int = 0) -> None:
        del block_size  # clients are not batched
        self._workload, self._device = workload, torch.device(device)
        self._models: dict[int, AutoEncoder] = {}
        self._optimizers: dict[int, torch.optim.SGD] = {}
        self._start = {
            name: self._tensor(leaf.T if name in TRANSPOSED else leaf)
            for name, leaf in ((name, workload.initial[path]) for name, path in PATHS.items())
        }
        self._server = {n: t.clone() for n, t in self._start.items() if n.startswith("decoder")}

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.ascontiguousarray(array), device=self._device)

    def round(self, cohort: np.ndarray) -> float:
        """Trains these clients and updates the server; seconds. Making new models is not timed."""
        for client in map(int, cohort):
            self._make(client)
        self._synchronize()
        begun = time.perf_counter()
        total = {name: torch.zeros_like(leaf) for name, leaf in self._server.items()}
        for client in map(int, cohort):
            items = self._train(client)
            for name, parameter in self._models[client].decoder.named_parameters(prefix="decoder"):
                trained = parameter.detach()
                if PATHS[name].startswith("decoder/output/"):  # partial compression
                    total[name].index_add_(0, items, trained[items] - self._server[name][items])
                else:
                    total[name] += trained - self._server[name]
        for name, leaf in self._server.items():
            leaf += total[name] / len(cohort)
        self._synchronize()
        return time.perf_counter() - begun

    def _make(self, client: int) -> None:
        if client in self._models:
            return
        settings = self._workload
        wide, code = settings.hidden_sizes
        model = AutoEncoder(settings.num_items, wide, code, settings.dropout).to(self._device)
        model.load_state_dict(self._start)
        self._models[client] = model
        self._optimizers[client] = torch.optim.SGD(
            model.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )

    def _train(self, client: int) -> torch.Tensor:
        """All local steps of one client; its items i64[L]."""
        settings, model, optimizer = self._workload, self._models[client], self._optimizers[client]
        item_array, values = settings.client(client)
        items = self._tensor(item_array.astype(np.int64))
        ratings = torch.zeros(1, settings.num_items, device=self._device)
        ratings[0, items] = self._tensor(values)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                shared = name in self._server
                if shared:
                    parameter.copy_(self._server[name])
                if not (
                    settings.carry_shared_momentum if shared else settings.carry_private_momentum
                ):
                    optimizer.state.pop(parameter, None)
        for _ in range(settings.local_steps):
            optimizer.zero_grad()
            loss = (model(ratings) - ratings)[0, items].square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
        optimizer.zero_grad()  # else every sampled client keeps a gradient as large as its model
        return items

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def shared(self) -> dict[str, np.ndarray]:
        """The server's parameters by path."""
        return {PATHS[name]: self._array(name, leaf) for name, leaf in self._server.items()}

    def private(self, client: int) -> dict[str, np.ndarray]:
        """A client's encoder by path, the first layer on its own items: f[L, H]."""
        weights = self._models[client].state_dict() if client in self._models else self._start
        own = {
            PATHS[name]: self._array(name, leaf)
            for name, leaf in weights.items()
            if name.startswith("encoder")
        }
        first = "encoder/input/item_kernel"
        own[first] = own[first][self._workload.client(client)[0]]
        return own

    def _array(self, name: str, leaf: torch.Tensor) -> np.ndarray:
        array = leaf.detach().cpu().numpy().copy()
        return array.T if name in TRANSPOSED else array

    def floor_bytes(self, cohort: np.ndarray) -> float:
        """Least traffic with main memory in a round, bytes: no client's model fits in a cache.

        A step reads the weights forward (1 pass) and the decoder's once more backward (1/2),
        writes gradients (1), reads them for their norm (1), scales them (2) and steps (5: reads
        of weight, gradient and momentum, writes of weight and momentum). A client begins with a
        copy of the decoder (read and write).
        """
        every = sum(leaf.numel() for leaf in self._start.values())
        shared = sum(leaf.numel() for leaf in self._server.values())
        per_client = self._workload.local_steps * 10.5 * every + 2 * shared
        return 4.0 * len(cohort) * per_client

    def floor_flops(self, cohort: np.ndarray) -> float:
        """Floating point operations of a round: 6 per weight for the products, 9 for the step."""
        every = sum(leaf.numel() for leaf in self._start.values())
        return 15.0 * every * len(cohort) * self._workload.local_steps
