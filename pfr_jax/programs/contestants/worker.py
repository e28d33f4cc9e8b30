"""One contestant in a process of its own: ``python -m pfr_jax.programs.contestants.worker``
``CONTESTANT WORKLOAD.npz RESULT(.npz|.json) DEVICE BLOCK_SIZE WARM_UP ROUNDS SAMPLE``.

A result .npz gets the shared part and some private ones after all cohorts, for comparison; a
result .json the timings.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pfr_jax.population.devices import divide_cpu
from pfr_jax.programs.contestants.workload import Workload

COMPARED_CLIENTS = 4


def make(name: str, workload: Workload, device: str, block_size: int) -> Any:
    """The contestant of this name; frameworks are imported only where they take part."""
    if name == "torch_loop":
        from pfr_jax.programs.contestants import torch_loop

        return torch_loop.Contestant(workload, device, block_size)
    if name == "torch_batched":
        from pfr_jax.programs.contestants import torch_batched

        return torch_batched.Contestant(workload, device, block_size)
    from pfr_jax.programs.contestants import jax_engines

    return jax_engines.Contestant(workload, name, device, block_size)


def compare(contestant: Any, workload: Workload, result: Path) -> None:
    """Runs all cohorts and saves what came of them, leaves by ``shared:path``, ``client:path``."""
    for cohort in workload.cohorts:
        contestant.round(cohort)
    leaves = {f"shared:{name}": leaf for name, leaf in contestant.shared().items()}
    for client in workload.cohorts[-1][:COMPARED_CLIENTS]:
        for name, leaf in contestant.private(int(client)).items():
            leaves[f"{client}:{name}"] = leaf
    np.savez(result, **leaves)


def measure(
    contestant: Any,
    workload: Workload,
    begun: float,
    warm_up: int,
    rounds: int,
    sample: int,
) -> dict[str, Any]:
    """Timings of rounds; ``sample`` limits a round to that many clients of its cohort (0: all)."""
    cohorts = [cohort[: sample or len(cohort)] for cohort in workload.cohorts]
    warm = [contestant.round(cohorts[index % len(cohorts)]) for index in range(warm_up)]
    seconds, used = [], []
    for index in range(rounds):
        cohort = cohorts[(warm_up + index) % len(cohorts)]
        seconds.append(contestant.round(cohort))
        used.append(cohort)
    ready = time.perf_counter() - begun - sum(warm) - sum(seconds)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": seconds,
        "compiled": getattr(contestant, "compiled", True),
        "clients": [len(cohort) for cohort in used],
        "ratings": [int(workload.lengths[cohort].sum()) for cohort in used],
        "floor_bytes": [contestant.floor_bytes(cohort) for cohort in used],
        "floor_flops": [contestant.floor_flops(cohort) for cohort in used],
        "compile_seconds": getattr(contestant, "compile_seconds", ready),
        "peak_rss_bytes": rss,
    }


def main() -> None:
    name, workload_path, result, device, *numbers = sys.argv[1:]
    block_size, warm_up, rounds, sample = map(int, numbers)
    workload = Workload.load(workload_path)
    if not name.startswith("torch"):
        divide_cpu()
    # Stacks of active_rows have room for every client from the start, on an accelerator all have.
    if name == "active_rows" or (name == "factored" and device != "cpu"):
        workload = workload.of_clients(np.unique(np.concatenate(workload.cohorts)))
    begun = time.perf_counter()
    contestant = make(name, workload, device, block_size)
    if result.endswith(".npz"):
        compare(contestant, workload, Path(result))
    else:
        timings = measure(contestant, workload, begun, warm_up, rounds, sample)
        timings["devices"] = getattr(contestant, "devices", device)
        Path(result).write_text(json.dumps(timings))


if __name__ == "__main__":
    main()
