"""The kernel from its source: compiled once, kept in the user's cache, and told to XLA."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import jaxlib
import platformdirs

from pfr_jax.client.factored.native.call import TARGET

SOURCE = Path(__file__).with_name("client_round.cc")
COMPILERS = ("g++", "clang++")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-w")


@functools.cache
def load() -> str:
    """Makes the kernel ready; why that cannot be, or "".

    It is compiled where no library of this source, compiler, processor and version of XLA is kept.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return "no compiler"
    folder = Path(platformdirs.user_cache_dir("pfr_jax")) / "native"
    library = folder / f"{_key(compiler)}.so"
    try:
        if not library.exists():
            _compile(compiler, library)
        kernel = ctypes.CDLL(str(library)).pfr_jax_client_round
    except (OSError, subprocess.SubprocessError) as error:
        return f"it does not compile here ({type(error).__name__})"
    jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(kernel), platform="cpu")
    return ""


def _key(compiler: str) -> str:
    """Names all that the library depends on; its machine too, as a folder may be of several."""
    machine = platform.machine(), _processor()
    files = sorted(path for path in SOURCE.parent.iterdir() if path.suffix in (".cc", ".h"))
    parts = *(path.read_text() for path in files), compiler, *FLAGS, jaxlib.__version__, *machine
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _processor() -> str:
    """What the processor can do, as Linux tells it; elsewhere its name."""
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor()
    return next((line for line in facts.read_text().splitlines() if line.startswith("flags")), "")


def _compile(compiler: str, library: Path) -> None:
    """Whole or not at all: two programs may do this at once."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [compiler, *FLAGS, f"-I{jax.ffi.include_dir()}", str(SOURCE), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        os.replace(made, library)
