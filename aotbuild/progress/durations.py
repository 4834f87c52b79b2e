"""How long each step of a project took when it last ran, kept beside the cache."""

from __future__ import annotations

import contextlib

from aotbuild.cache.history import History
from aotbuild.cache.settings import cache_settings

_KIND, _SECONDS = "durations", "seconds"


class Durations:
    """The durations of the steps of a project, by their labels.

    Args:
        package: The package of its models.

    Raises:
        ConfigError: The environment has settings of the cache that mean nothing.
    """

    def __init__(self, package: str) -> None:
        self._history = History(cache_settings(), _KIND, package)
        told = (self._history.last(_KIND) or {}).get(_SECONDS, {})
        self._seconds: dict[str, float] = {}
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            self._seconds = {label: float(text) for label, text in told.items()}

    def before(self, label: str) -> float | None:
        """How many seconds a step took; None where that is not known.

        Args:
            label: What the step does.
        """
        return self._seconds.get(label)

    def note(self, label: str, seconds: float) -> None:
        """Note how long a step took, if that can be written.

        Args:
            label: What the step does.
            seconds: How long it took.
        """
        self._seconds[label] = seconds
        texts = {label: f"{value:.3g}" for label, value in self._seconds.items()}
        self._history.note(_KIND, {_SECONDS: texts})
