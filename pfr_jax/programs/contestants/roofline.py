"""What this machine can do at most: copy bandwidth, matrix products, gathered rows. By numpy."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

REPEATS = 7


def _median_seconds(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds[1:]))


def measure(threads: int) -> dict[str, float]:
    """Bytes per second (read and write both counted), float32 operations and rows per second."""
    rng = np.random.default_rng(0)
    source = rng.random(128 * 2**20 // 4, dtype=np.float32)
    target = np.empty_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    matrix = rng.random((1024, 1024), dtype=np.float32)
    table = rng.random((10_677, 256), dtype=np.float32)
    rows = rng.integers(0, len(table), 200_000)
    gathered = np.empty((len(rows), 256), np.float32)
    pieces = list(
        zip(np.array_split(gathered, threads), np.array_split(rows, threads), strict=True)
    )
    with ThreadPoolExecutor(threads) as pool:
        copy = _median_seconds(lambda: list(pool.map(lambda pair: np.copyto(*pair), parts)))
        product = _median_seconds(lambda: matrix @ matrix)
        gather = _median_seconds(
            lambda: list(
                pool.map(lambda pair: np.take(table, pair[1], 0, out=pair[0], mode="clip"), pieces)
            )
        )
    return {
        "copy_bytes_per_second": 2 * source.nbytes / copy,
        "gemm_flops_per_second": 2 * 1024**3 / product,
        "gathered_rows_per_second": len(rows) / gather,
    }


def floor_seconds(limits: dict[str, float], floor_bytes: float, floor_flops: float) -> float:
    """The longer of moving the bytes and computing, as if each went on beside the other."""
    return max(
        floor_bytes / limits["copy_bytes_per_second"], floor_flops / limits["gemm_flops_per_second"]
    )
