"""What a run ran on: versions, devices, memory."""

import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version

import jax

PACKAGES = ("pfr_jax", "jax", "jaxlib", "flax", "optax", "numpy", "pandas", "pyarrow")


def environment() -> dict[str, str]:
    """Versions and devices, as text, for the log and config.json."""
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
    }


def _version(package: str) -> str:
    """This package may be run from where its source is, without being installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def peak_rss_bytes() -> int:
    """The most memory this process has had resident so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes elsewhere


def peak_device_bytes() -> int | None:
    """The most memory of the fullest accelerator so far; None where the device does not tell."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [found["peak_bytes_in_use"] for found in stats if "peak_bytes_in_use" in found]
    return max(peaks, default=None)
