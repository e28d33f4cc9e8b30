"""Accelerators that are not here, the devices that stand for them, and those that are here."""

import importlib.util
import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from pfr_jax.errors import InputError
from pfr_jax.population.devices import AXIS, client_mesh
from pfr_jax.programs.ahead_of_time.work import Work

# What libtpu would ask the metadata server of a TPU's machine for; and that others may compile at
# the same time, as no TPU is taken.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


SECONDS_PER_KERNEL = 3e-6  # to launch one on a GPU: an assumption, in the range of what is told


@dataclass(frozen=True)
class Chip:
    """A kind of accelerator."""

    platform: str = ""
    package: str = ""  # that compiles for it
    extra: str = ""  # of pfr_jax, that installs the package
    kind: str = ""  # as JAX calls its devices
    hertz: float = 0.0  # of the clock that a TPU's compiler counts cycles of
    bytes_per_second: float = 0.0  # of a GPU's memory, whose compiler counts nothing
    target: str = ""  # a GpuTargetConfigProto as text

    def seconds(self, work: Work) -> float:
        """What a program takes by its cycles; on a GPU by its bytes and the number of kernels; 0 if
        nothing is known of the chip."""
        if self.hertz:
            return work.cycles / self.hertz
        if not self.bytes_per_second:
            return 0.0
        return work.bytes / self.bytes_per_second + work.operations * SECONDS_PER_KERNEL


H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
runtime_version { major: 13 minor: 0 patch: 0 }
platform_name: "CUDA" dnn_version_info { major: 9 minor: 12 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
T4 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 65536 threads_per_core_limit: 1024 core_count: 40 fpus_per_core: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 320064000000 l2_cache_size: 4194304 clock_rate_ghz: 1.59
  device_memory_size: 15843721216 shared_memory_per_block_optin: 65536
  cuda_compute_capability { major: 7 minor: 5 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
runtime_version { major: 13 minor: 0 patch: 0 }
platform_name: "CUDA" dnn_version_info { major: 9 minor: 12 }
device_description_str: "Tesla T4"
"""
_TPU = partial(Chip, "tpu", "libtpu", "aot")
_GPU = partial(Chip, "cuda", "jax_cuda13_plugin", "aot-cuda")
CHIPS = {
    "v4": _TPU("TPU v4", hertz=1.05e9),
    "v5e": _TPU("TPU v5 lite", hertz=1.5e9),
    "v6e": _TPU("TPU v6 lite", hertz=1.75e9),
    "h100": _GPU("NVIDIA H100 80GB HBM3", bytes_per_second=3.35e12, target=H100),
    "t4": _GPU("Tesla T4", bytes_per_second=320e9, target=T4),
}
HERE = "here"  # the topology of JAX's own devices
ONLY_HERE = (
    Chip(kind="NVIDIA H200", bytes_per_second=4.8e12),
    Chip(kind="NVIDIA A100-SXM4-40GB", bytes_per_second=1.555e12),
    Chip(kind="NVIDIA L4", bytes_per_second=300e9),
)


def chip_of(topology: str) -> Chip:
    """The kind of chip of a topology such as v5e:2x2, or h100; of ``HERE`` one that may be unknown.

    Raises:
      InputError: there is none of this name, or what compiles for it is not installed.
    """
    if topology == HERE:
        kind, known = jax.devices()[0].device_kind, (*CHIPS.values(), *ONLY_HERE)
        return next((chip for chip in known if chip.kind == kind), Chip(kind=kind))
    name = topology.partition(":")[0]
    if name not in CHIPS:
        names = ", ".join((*CHIPS, HERE))
        raise InputError(f"--topology={topology}: want one of {names}, as in v5e:2x2")
    chip = CHIPS[name]
    if importlib.util.find_spec(chip.package) is None:
        raise InputError(
            f"--topology={topology}: {chip.package} is not installed, which compiles for it; "
            f"python -m pip install 'pfr_jax[{chip.extra}]'"
        )
    return chip


def mesh_of(topology: str, chips: int) -> Mesh:
    """The first ``chips`` devices of a topology, for the clients to be divided among.

    Raises:
      InputError: see ``chip_of``; or the topology has fewer, or is none.
    """
    chip = chip_of(topology)
    if topology == HERE:
        if chips > jax.device_count():
            raise InputError(f"--chips={chips}: there are {jax.device_count()} devices here")
        return client_mesh(chips)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    settings: dict[str, Any] = {"topology_name": topology}
    if chip.platform == "cuda":
        shape = f"1x1x{chips}"
        settings = {"topology_name": topology, "topology": shape, "target_config": chip.target}
    try:
        described = topologies.get_topology_desc(platform=chip.platform, **settings)
    except Exception as error:  # JAX has no class of its own for it
        reason = str(error).splitlines()[0]
        raise InputError(f"--topology={topology}: {reason}") from error
    if chips > len(described.devices):
        raise InputError(f"--chips={chips}: {topology} has {len(described.devices)} devices")
    return Mesh(np.array(described.devices[:chips]), (AXIS,))
