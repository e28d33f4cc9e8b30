"""The programs as modules of the repository: ``python -m experiments.run`` is ``pfr run``."""

import pfr_jax.programs  # noqa: F401  # heeds Ctrl-C from here on
