"""What torch logs and prints of failures that it raises afterwards, and how it is hidden.

Nothing here imports torch. Who sets ``AOTBUILD_DEBUG`` sees all of it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator

from aotbuild.errors import debugging


def quieten() -> None:
    """Hide what torch warns of its own calls, and logs of errors that it raises afterwards."""
    if not debugging():
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)


def quieten_torch() -> None:
    """Hide torch's own logs of errors that it raises afterwards; once torch has been imported.

    ``torch._subclasses.fake_tensor`` logs a traceback of an operator whose sizes do not fit. Who
    sets ``TORCH_LOGS`` wants to see them.
    """
    if debugging() or os.environ.get("TORCH_LOGS"):
        return
    for name in ["torch", *logging.root.manager.loggerDict]:
        if name.partition(".")[0] == "torch":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextlib.contextmanager
def without_dumps() -> Iterator[None]:
    """Keep torch from printing what it raises all the same; the error tells the line.

    That is the half-traced graph, and what is logged for each attempt, by the model too.
    """
    if debugging():
        yield
        return
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        logging.disable(disabled)
