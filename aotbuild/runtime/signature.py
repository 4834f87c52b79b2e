"""What the signature of a generated ``__call__`` needs for good messages about wrong calls.

Python refuses wrong arguments before a function's body runs, in words that count ``self`` and do
not always name the argument. A generated ``__call__`` therefore takes every call: a required
argument has the default ``MISSING``, and what there is no parameter for ends in those annotated
``Refused``. Its body raises the error. None of this shows in the signature that users see.
"""

from __future__ import annotations

import types
from enum import Enum
from typing import Any, Final


class _Default(Enum):
    MISSING = "missing"


MISSING: Final = _Default.MISSING
"""Default of a parameter that a call must give."""


class Refused:
    """Annotates ``*`` and ``**`` parameters for arguments that the model does not have."""


class CallSignature:
    """``__signature__`` of a class whose ``__call__`` is in C: that of the method in its place."""

    def __get__(self, model: Any, cls: type[Any]) -> Any:
        import inspect  # whoever asks has imported it

        shown = inspect.signature(cls._checked)
        return shown.replace(parameters=list(shown.parameters.values())[1:])


def tell_signature(cls: type[Any]) -> None:
    """Let ``inspect`` and ``help`` show the signature of a class's ``__call__`` as it is meant.

    They show that of ``__wrapped__``: a function without what is refused, of the same code, which
    nothing calls. ``inspect`` itself takes longer to import than a small model runs.
    """
    call = vars(cls).get("__call__")
    if call is None:
        return
    code, annotations = call.__code__, call.__annotations__
    ordinary = code.co_argcount + code.co_kwonlyargcount
    catching = [flag for flag in (_VARARGS, _VARKEYWORDS) if code.co_flags & flag]
    caught = dict(zip(code.co_varnames[ordinary:], catching, strict=False))
    refused = {name: flag for name, flag in caught.items() if annotations.get(name) is Refused}
    shown = types.FunctionType(
        code.replace(
            co_flags=code.co_flags & ~sum(refused.values()),
            co_varnames=(*(n for n in code.co_varnames if n not in refused), *refused),
        ),
        call.__globals__,
        call.__name__,
        tuple(value for value in call.__defaults__ or () if value is not MISSING),
    )
    kwdefaults = call.__kwdefaults__ or {}
    shown.__kwdefaults__ = {n: v for n, v in kwdefaults.items() if v is not MISSING}
    shown.__annotations__ = {n: v for n, v in annotations.items() if n not in refused}
    shown.__doc__, shown.__qualname__ = call.__doc__, call.__qualname__
    call.__wrapped__ = shown


def tell_name(cls: type[Any], name: str) -> None:
    """Let what Python itself says of a wrong call of a method begin with the name of the model.

    Args:
        cls: The class of one model, which inherits the methods.
        name: The name of the model.
    """
    for method in _METHODS:
        shared = getattr(cls, method, None)
        named = f"{name}.{method}"
        if not isinstance(shared, types.FunctionType) or shared.__qualname__ == named:
            continue
        own = types.FunctionType(
            *(shared.__code__, shared.__globals__, method, shared.__defaults__, shared.__closure__)
        )
        own.__kwdefaults__, own.__annotations__ = shared.__kwdefaults__, shared.__annotations__
        own.__doc__, own.__qualname__ = shared.__doc__, named
        setattr(cls, method, own)


_METHODS = ("batched", "load_state_dict", "merge", "module", "pool", "prefetch", "state_dict")
"""Those of a model whose arguments Python checks."""

_VARARGS, _VARKEYWORDS = 0x04, 0x08
"""``inspect.CO_VARARGS`` and ``CO_VARKEYWORDS``."""
