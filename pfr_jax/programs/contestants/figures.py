"""The figures of contestants, from the medians over their rounds, and the table of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table

from pfr_jax.programs.contestants.roofline import floor_seconds
from pfr_jax.report.tables import Fitted


def summarise(name: str, timings: dict[str, Any], steps: int, limits: dict[str, float]) -> dict:
    """The row of a contestant, from the medians over its rounds."""

    def per_second(counts: Sequence[float]) -> float:
        pairs = zip(counts, timings["seconds"], strict=True)
        return float(np.median([count / seconds for count, seconds in pairs]))

    clients = per_second(timings["clients"])
    row = {
        "contestant": name,
        "client_steps_per_second": steps * clients,
        "clients_per_second": clients,
        "ratings_per_second": per_second(timings["ratings"]),
        "seconds_per_round": float(np.median(timings["seconds"])),
        "seconds_of_rounds": timings["seconds"],
        "clients_of_rounds": timings["clients"],
        "microseconds_per_client_step": 1e6 / (steps * clients),
        "peak_rss_bytes": timings["peak_rss_bytes"],
        "compile_seconds": timings["compile_seconds"],
        "devices": timings["devices"],
    }
    if limits:
        floors = [
            floor_seconds(limits, *pair)
            for pair in zip(timings["floor_bytes"], timings["floor_flops"], strict=True)
        ]
        ratios = np.array(timings["seconds"]) / floors
        row["floor_seconds"] = float(np.median(floors))
        row["floor_multiple"] = float(np.median(ratios))
    return row


def show(rows: list[dict], limits: dict[str, float], console: Console) -> None:
    table = Table(box=SIMPLE_HEAD)
    slowest = rows[0]["microseconds_per_client_step"]
    for heading in (
        "contestant",
        "us per\nclient-step",
        "times\nthe first",
        "clients/s",
        "s per\nround",
        "compile\ns",
        "peak\nGiB",
        "times its\nfloor",
    ):
        side: JustifyMethod = "left" if heading == "contestant" else "right"
        table.add_column(heading, justify=side, no_wrap=True)
    for row in rows:
        micro = row["microseconds_per_client_step"]
        table.add_row(
            row["contestant"],
            f"{micro:,.1f}",
            f"{slowest / micro:,.1f}",
            f"{row['clients_per_second']:,.0f}",
            f"{row['seconds_per_round']:.3f}",
            f"{row['compile_seconds']:.1f}",
            f"{row['peak_rss_bytes'] / 2**30:.2f}",
            f"{row['floor_multiple']:.2f}" if "floor_multiple" in row else "",
        )
    console.print(Fitted("Throughput, medians", table))
    if limits:
        console.print(
            f"Machine: copy {limits['copy_bytes_per_second'] / 1e9:.1f} GB/s, products "
            f"{limits['gemm_flops_per_second'] / 1e9:.0f} GFLOP/s, gather "
            f"{limits['gathered_rows_per_second'] / 1e6:.1f} M rows/s"
        )
