"""Errors of a compiled model. A wrong call is a TypeError or a ValueError."""

from __future__ import annotations


class ModelLoadError(ImportError):
    """The compiled model cannot be loaded on this machine or with this torch."""


class StateDictError(ValueError):
    """A state dict cannot be loaded into the compiled model, or not be read from it."""


class StateError(ValueError):
    """A state cannot be used for a call, or not be read from a file or a pickle."""


class QueueFullError(RuntimeError):
    """A request is refused because too many others wait for their turn."""
