"""What every contestant of the throughput benchmark computes: data, start, settings, cohorts.

One user per client, squared error, partial compression. A file holds a whole workload, so that
contestants in processes of their own (or on other machines) train on the very same numbers.
Legend: N clients, n ratings, I items, H and C the hidden sizes, L ratings of one client.
"""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Workload:
    """A federation and the rounds that it is to run. Items of a client ascend."""

    num_items: int
    starts: np.ndarray  # i64[N + 1], where the ratings of each client begin
    items: np.ndarray  # i32[n]
    values: np.ndarray  # f32[n], centred ratings
    initial: dict[str, np.ndarray]  # f32, by path: "encoder/input/item_kernel" f[I, H], ...
    cohorts: list[np.ndarray]  # i64[clients], the clients of each round
    hidden_sizes: tuple[int, ...] = (256, 128)
    local_steps: int = 5  # K, each on all ratings of the client
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4  # coupled
    clip_norm: float = 1.0  # global norm over private and shared together
    dropout: float = 0.5  # on the code
    denominator: str = "clients"  # of the server's sums of item rows
    carry_private_momentum: bool = True  # False: restarted every round
    carry_shared_momentum: bool = True

    def __post_init__(self) -> None:
        if self.denominator != "clients":
            raise ValueError("The contestants know the denominator 'clients' only.")
        if len(self.hidden_sizes) != 2:
            raise ValueError("The contestants have two hidden layers in each half.")

    @property
    def num_clients(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Ratings of each client, i64[N]."""
        return np.diff(self.starts)

    def client(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Items i32[L] and values f32[L] of one client."""
        own = slice(self.starts[index], self.starts[index + 1])
        return self.items[own], self.values[own]

    def of_clients(self, clients: np.ndarray) -> "Workload":
        """The same with these clients only (i64[n], ascending), numbered anew."""
        rows = np.concatenate([np.arange(*self.starts[client : client + 2]) for client in clients])
        cohorts = [cohort[np.isin(cohort, clients)] for cohort in self.cohorts]
        return replace(
            self,
            starts=np.concatenate([[0], np.cumsum(self.lengths[clients])]),
            items=self.items[rows],
            values=self.values[rows],
            cohorts=[np.searchsorted(clients, cohort) for cohort in cohorts],
        )

    def save(self, path: str | Path) -> None:
        """Writes an .npz file without pickled objects."""
        settings = {
            name: value
            for name, value in ((f.name, getattr(self, f.name)) for f in fields(self))
            if isinstance(value, bool | int | float | str | tuple)
        }
        arrays = {
            "settings": np.array(json.dumps(settings)),
            "starts": self.starts,
            "items": self.items,
            "values": self.values,
            "cohorts": np.concatenate([np.zeros(0, np.int64), *self.cohorts]),
            "cohort_sizes": np.array([len(cohort) for cohort in self.cohorts], np.int64),
            **{f"initial/{name}": leaf for name, leaf in self.initial.items()},
        }
        np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy types them as its own flag

    @classmethod
    def load(cls, path: str | Path) -> "Workload":
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        settings = json.loads(str(arrays["settings"]))
        settings["hidden_sizes"] = tuple(settings["hidden_sizes"])
        ends = np.cumsum(arrays["cohort_sizes"])
        return cls(
            starts=arrays["starts"],
            items=arrays["items"],
            values=arrays["values"],
            initial={
                name.removeprefix("initial/"): leaf
                for name, leaf in arrays.items()
                if name.startswith("initial/")
            },
            cohorts=np.split(arrays["cohorts"], ends[:-1]) if len(ends) else [],
            **settings,
        )


def leaf_shapes(num_items: int, hidden_sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of the model by its path."""
    wide, code = hidden_sizes
    return {
        "encoder/input/item_kernel": (num_items, wide),
        "encoder/input/bias": (wide,),
        "encoder/norm_0/scale": (wide,),
        "encoder/norm_0/bias": (wide,),
        "encoder/linear_1/kernel": (wide, code),
        "encoder/linear_1/bias": (code,),
        "encoder/norm_1/scale": (code,),
        "encoder/norm_1/bias": (code,),
        "decoder/linear_0/kernel": (code, wide),
        "decoder/linear_0/bias": (wide,),
        "decoder/norm_0/scale": (wide,),
        "decoder/norm_0/bias": (wide,),
        "decoder/output/item_kernel": (num_items, wide),
        "decoder/output/item_bias": (num_items,),
    }


def random_initial(
    num_items: int, hidden_sizes: tuple[int, ...], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Xavier-uniform matrices, zero biases, unit scales; f32 by path."""
    initial = {}
    for name, shape in leaf_shapes(num_items, hidden_sizes).items():
        leaf = np.full(shape, 1.0 if name.endswith("scale") else 0.0)
        if len(shape) == 2:
            bound = np.sqrt(6 / sum(shape))
            leaf = rng.uniform(-bound, bound, shape)
        initial[name] = leaf.astype(np.float32)
    return initial


def random_workload(
    num_clients: int,
    num_items: int,
    seed: int = 0,
    *,
    mean_length: float = 0.0,
    rounds: int = 3,
    cohort_size: int = 0,
    **settings: object,
) -> Workload:
    """Ragged random ratings, for tests and for timing without data.

    Lengths are log-normal around ``mean_length`` (0: a quarter of the items) with the long tail of
    ratings data, at least 1. Popular items come first. ``cohort_size`` 0: two thirds of the
    clients, so that consecutive cohorts overlap.
    """
    rng = np.random.default_rng(seed)
    spread = 1.0  # of the logarithm; MovieLens-10M's median is about half of its mean
    mean = mean_length or num_items / 4
    lengths = rng.lognormal(np.log(mean) - spread**2 / 2, spread, num_clients)
    lengths = np.clip(lengths.round().astype(np.int64), 1, num_items)
    popularity = 1 / (np.arange(num_items) + 10.0)
    popularity /= popularity.sum()
    chosen = [
        np.sort(rng.choice(num_items, length, replace=False, p=popularity)) for length in lengths
    ]
    cohort_size = cohort_size or max(1, 2 * num_clients // 3)
    cohorts = [rng.choice(num_clients, cohort_size, replace=False) for _ in range(rounds)]
    workload = {
        "num_items": num_items,
        "starts": np.concatenate([[0], np.cumsum(lengths)]),
        "items": np.concatenate(chosen).astype(np.int32),
        "values": rng.normal(size=lengths.sum()).astype(np.float32),
        "cohorts": cohorts,
        **settings,
    }
    sizes = workload.setdefault("hidden_sizes", (256, 128))
    assert isinstance(sizes, tuple)
    return Workload(initial=random_initial(num_items, sizes, rng), **workload)  # type: ignore[arg-type]
