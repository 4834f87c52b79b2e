"""What the signature of a generated ``__call__`` needs for good messages about wrong calls.

Python refuses wrong arguments before a function's body runs, in words that count ``self`` and do
not always name the argument. A generated ``__call__`` therefore takes every call: a required
argument has the default ``MISSING``, and what there is no parameter for ends in those annotated
``Refused``. Its body raises the error. None of this shows in the signature that users see.
"""

from __future__ import annotations

import inspect
from enum import Enum
from typing import Any, Final


class _Default(Enum):
    MISSING = "missing"


MISSING: Final = _Default.MISSING
"""Default of a parameter that a call must give."""


class Refused:
    """Annotates ``*`` and ``**`` parameters for arguments that the model does not have."""


def tell_signature(cls: type[Any]) -> None:
    """Let ``inspect`` and ``help`` show the signature of a class's ``__call__`` as it is meant."""
    call = vars(cls).get("__call__")
    if call is None:
        return
    signature = inspect.signature(call)
    shown = [
        parameter.replace(default=parameter.empty) if parameter.default is MISSING else parameter
        for parameter in signature.parameters.values()
        if parameter.annotation is not Refused
    ]
    call.__signature__ = signature.replace(parameters=shown)
