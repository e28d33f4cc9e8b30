"""The programs of the command ``pfr``, one file each.

What is here happens before any of them is imported, which takes seconds.
"""

import logging
import os
import signal
import sys
from types import FrameType

INTERRUPTED = "interrupted; what was written so far stays"


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Handles SIGINT while modules are imported: some of them swallow a KeyboardInterrupt."""
    del frame
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(128 + number)


def heed_early_interrupts() -> None:
    """Ends with one line until a program takes over; a shell may have had SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)


# JAX tells of every kind of device that it looks for and does not find; absl would show it. Where
# JAX_PLATFORMS asks for one that is not there, it is an error all the same.
logging.getLogger("jax").setLevel(logging.WARNING)
if sys.argv[:1] == ["-m"]:  # stands for the program's path while Python looks for it
    heed_early_interrupts()
