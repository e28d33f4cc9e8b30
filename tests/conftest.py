"""Strict switches for every test: no silent broadcasting of ranks, no mixed dtypes, no reused keys.

Warnings are errors by ``filterwarnings`` in pyproject.toml.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

from pfr_jax.population.devices import PATIENCE

os.environ["XLA_FLAGS"] = f"--{PATIENCE}=600 " + os.environ.get("XLA_FLAGS", "")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
# Tests compile many programs and run each of them a few times on tiny models.
jax.config.update("jax_disable_most_optimizations", True)


def pytest_configure(config: pytest.Config) -> None:
    """Quick tests do without XLA's emitters of fusions: a tiny round compiles in half the time.

    Its last bits then depend on what else is in the program. Tests that compare the bits of
    different programs are slow ones, which are compiled as a user's programs are.
    """
    if "not slow" in config.getoption("markexpr"):
        os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"


# No timed tests: a busy machine must not fail a property.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

REAL_DATA = Path(os.environ.get("PFR_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds real data sets, where it is there."""
    return REAL_DATA


@pytest.fixture(scope="session")
def ml100k_dir() -> Path:
    """The folder that holds ml-100k/u.data; the test is skipped where there is none."""
    if not (REAL_DATA / "ml-100k" / "u.data").is_file():
        pytest.skip(f"no real MovieLens-100K in {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session", autouse=True)
def parsed_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Parsed ratings are kept in a folder of this run, not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("parsed")
        patch.setenv("PFR_CACHE_DIR", str(folder))
        yield folder
