"""How JAX is set up, for the programs and for users of the library alike."""

import os
from pathlib import Path

import jax
import platformdirs

from pfr_jax.population.devices import divide_cpu, join_processes


def set_up_jax(
    num_devices: int = 0, coordinator: str = "", num_processes: int = 1, process: int = -1
) -> None:
    """Sets devices, precision, and the folder where compiled programs are kept: the user's cache.

    Call it before anything else of JAX. What the environment says is left as it is.

    Args:
      num_devices: of a CPU, that clients are divided among; 0: one per core.
      coordinator: host:port of the first process, where several simulate together.
      num_processes: how many do; 0: as many as the platform (a TPU slice, Slurm) says.
      process: the number of this one, from 0; -1: as the platform says.

    Raises:
      InputError: if the processes do not find each other.
    """
    divide_cpu(num_devices, num_processes or 1)
    if num_processes != 1:
        join_processes(coordinator, num_processes, process)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = Path(platformdirs.user_cache_dir("pfr_jax")) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    # float32 is float32, also on accelerators that would round products' inputs.
    jax.config.update("jax_default_matmul_precision", "highest")
