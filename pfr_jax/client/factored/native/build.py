"""The kernel from its source: compiled once into the user's cache, and told to XLA."""

import ctypes
import subprocess
from pathlib import Path

import jax

def load():
    so = "/tmp/cr.so"
    library = ctypes.cdll.LoadLibrary(so)
    jax.ffi.register_ffi_target("pfr_jax_client_round", jax.ffi.pycapsule(library.pfr_jax_client_round), platform="cpu")
