"""The devices that clients are dealt to: every device keeps the states and data of its own.

The mesh has one axis, of clients. What is stacked on the client axis is cut into equal runs, one
per device; what the server knows is on every device alike. A round never moves a client: its only
exchange is the sum of what the devices' clients hand over.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pfr_jax.errors import InputError

AXIS = "clients"
# After 40 seconds of waiting for another device's sum XLA would end the program; a busy machine, or
# a process that was stopped and goes on, can keep a device waiting longer.
PATIENCE = "xla_cpu_collective_call_terminate_timeout_seconds"
BY_CLIENT = PartitionSpec(AXIS)
EVERYWHERE = PartitionSpec()


def divide_cpu(num_devices: int = 0) -> None:
    """Makes a CPU that many devices (0: one per core), unless JAX has been told another number.

    A program for one device hardly uses a second core: its matrices are small. Call it before
    anything else of JAX.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if PATIENCE not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{PATIENCE}=86400"
    if "JAX_NUM_CPU_DEVICES" not in os.environ and "device_count" not in flags:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        jax.config.update("jax_num_cpu_devices", num_devices or cores)


def client_mesh(num_devices: int = 1) -> Mesh:
    """The first ``num_devices`` of JAX's devices; 0: all of them."""
    devices = jax.devices()
    if num_devices > len(devices):
        raise InputError(f"--num_devices={num_devices}: JAX has {len(devices)} here")
    return Mesh(np.array(devices[: num_devices or None]), (AXIS,))


def device_bytes(mesh: Mesh) -> float:
    """Memory of all the mesh's accelerators; 0 on a CPU, whose memory is the machine's own."""
    if mesh.devices.flat[0].platform == "cpu":
        return 0
    return sum((d.memory_stats() or {}).get("bytes_limit", 0) for d in mesh.devices.flat)


def put(tree: Any, mesh: Mesh, spec: PartitionSpec = BY_CLIENT) -> Any:
    """The arrays of a tree on the mesh; ``BY_CLIENT`` cuts their first axis."""
    return jax.device_put(tree, NamedSharding(mesh, spec))


def on_every_device(function: Callable, mesh: Mesh, inputs: Any, outputs: Any) -> Callable:
    """``function`` as it is for one device, run by all of them on their own parts.

    ``inputs`` and ``outputs`` say of its arguments and results which are ``BY_CLIENT``.
    """
    return jax.shard_map(function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)


def sum_over_devices(tree: Any) -> Any:
    """Inside ``on_every_device``: the sum of all devices' trees, on each of them."""
    return jax.lax.psum(tree, AXIS)


def on_one_device(tree: Any) -> Any:
    """Arrays that are on every device alike, as they are on this process's first."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
