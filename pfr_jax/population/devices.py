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
# Memory of accelerators that programs are compiled for (pfr compile-check) without one being here.
GIB_OF_KIND = {
    "TPU v4": 31.25,
    "TPU v5 lite": 15.75,
    "TPU v6 lite": 31.25,
    "NVIDIA H100 80GB HBM3": 79.1,
    "Tesla T4": 14.75,
}
BY_CLIENT = PartitionSpec(AXIS)
EVERYWHERE = PartitionSpec()


def divide_cpu(num_devices: int = 0, processes: int = 1) -> None:
    """Makes a CPU that many devices (0: one per core), unless JAX has been told another number.

    ``processes`` share them.

    A program for one device hardly uses a second core: its matrices are small. Call it before
    anything else of JAX.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if PATIENCE not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{PATIENCE}=86400"
    if "JAX_NUM_CPU_DEVICES" not in os.environ and "device_count" not in flags:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        per_process = -(-(num_devices or cores) // processes)
        jax.config.update("jax_num_cpu_devices", per_process)


def client_mesh(num_devices: int = 1) -> Mesh:
    """The first ``num_devices`` of JAX's devices; 0: all of them, those of other processes too."""
    devices = jax.devices()
    if num_devices > len(devices):
        raise InputError(f"--num_devices={num_devices}: JAX has {len(devices)} here")
    chosen = devices[: num_devices or None]
    if len({device.process_index for device in chosen}) < jax.process_count():
        raise InputError(f"--num_devices={num_devices}: some process would have none")
    return Mesh(np.array(chosen), (AXIS,))


def on_cpu(mesh: Mesh) -> bool:
    """Whether the mesh is of a CPU, and not of accelerators, which may be on another machine."""
    return mesh.devices.flat[0].platform == "cpu"


def device_bytes(mesh: Mesh) -> float:
    """Memory of all the mesh's accelerators; 0 on a CPU, whose memory is the machine's own."""
    if on_cpu(mesh):
        return 0
    own = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    return sum(map(_memory_of, own)) * mesh.size / len(own)


def _memory_of(device: jax.Device) -> float:
    """Bytes; 0 where nobody knows."""
    try:
        return (device.memory_stats() or {}).get("bytes_limit", 0)
    except jax.errors.JaxRuntimeError:  # it is not here
        return GIB_OF_KIND.get(device.device_kind, 0) * 2**30


def join_processes(coordinator: str, number: int, process: int) -> None:
    """Makes this one of several processes that simulate together; call it before the devices are
    looked at. Where the platform knows them (TPU slices, Slurm), all may be left empty (0, "", -1).
    """
    try:
        jax.distributed.initialize(
            coordinator or None, number or None, process if process >= 0 else None
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the processes did not find together: {str(error).splitlines()[0]}; see "
            "--coordinator, --num_processes and --process"
        ) from error


def shape(dimensions: tuple[int, ...], dtype: Any, mesh: Mesh, where: PartitionSpec) -> Any:
    """An array that is nowhere, but has its place on the mesh."""
    return jax.ShapeDtypeStruct(dimensions, dtype, sharding=NamedSharding(mesh, where))


def placed(tree: Any, mesh: Mesh, where: PartitionSpec) -> Any:
    """The shapes of a tree's leaves, with their place on the mesh."""
    return jax.tree.map(lambda leaf: shape(leaf.shape, leaf.dtype, mesh, where), tree)


def put(tree: Any, mesh: Mesh, spec: PartitionSpec = BY_CLIENT) -> Any:
    """The arrays of a tree on the mesh; ``BY_CLIENT`` cuts their first axis.

    Several processes are given the same arrays, and each puts what its own devices hold there.
    """
    sharding = NamedSharding(mesh, spec)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def one(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(one(jax.random.key_data(leaf)))
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(one, tree)


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
