"""Arrays that cost nothing until something is stored in them.

XLA on a CPU has no uninitialised arrays: ``jax.lax.empty`` writes zeros, and so gets memory for
all of it from the operating system. Here a foreign function that does nothing stands for the
array's computation; XLA allocates its result, and nobody touches it. The declarations below are
the beginnings of structures of XLA's FFI (xla/ffi/api/c_api.h), as far as they are needed to
answer which version of it the function speaks: the one that asks.
"""

import ctypes
from typing import Any

import jax

_TARGET = "pfr_jax_untouched"
_METADATA = 1  # type of the extension with which XLA asks for the version


class _Version(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
    )


class _Metadata(ctypes.Structure):
    _fields_ = (("struct_size", ctypes.c_size_t), ("version", _Version))


class _Extension(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("metadata", ctypes.POINTER(_Metadata)),
    )


class _Api(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("version", _Version),
    )


class _CallFrame(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.POINTER(_Extension)),
        ("api", ctypes.POINTER(_Api)),
    )


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_CallFrame))
def _do_nothing(frame: Any) -> None:
    """A call of XLA's; None (a null pointer) means success."""
    extension = frame.contents.extension
    if extension and extension.contents.type == _METADATA:
        version = extension.contents.metadata.contents.version
        version.major = frame.contents.api.contents.version.major
        version.minor = frame.contents.api.contents.version.minor


jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(_do_nothing), platform="cpu")


def untouched(shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """An array of undefined content; on a CPU its memory is not touched."""
    result = jax.ShapeDtypeStruct(shape, dtype)
    # As if it had an effect, lest two arrays of one shape be taken for the same.
    on_cpu = jax.ffi.ffi_call(_TARGET, result, has_side_effect=True)
    # By what the program is compiled for, which need not be what JAX runs on here.
    return jax.lax.platform_dependent(cpu=on_cpu, default=lambda: jax.lax.empty(shape, dtype))
