"""The settings of scikit-build-core that hold for a build, whatever gave them.

Everything private of scikit-build-core that aotbuild uses stands in this module.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

from aotbuild.errors import ConfigError

NO_PROVIDERS = "SKBUILD_NO_ENTRYPOINT_CONFIG"
"""With this variable scikit-build-core asks no installed package for settings."""

_HOOKS = {
    "build_wheel",
    "build_editable",
    "build_sdist",
    "prepare_metadata_for_build_wheel",
    "prepare_metadata_for_build_editable",
}


def providers_off() -> bool:
    """Whether scikit-build-core has been told not to ask aotbuild for settings."""
    return os.environ.get(NO_PROVIDERS, "").lower() in {"1", "on", "true", "yes", "y"}


def build_settings(pyproject: Mapping[str, Any], state: str) -> Any:
    """The settings of this build, as scikit-build-core reads them but for those of aotbuild.

    Args:
        pyproject: The whole file, with its overrides.
        state: The hook that runs, such as ``wheel``.

    Returns:
        scikit-build-core's own object: ``wheel.packages``, ``install.components`` and so on.

    Raises:
        ConfigError: scikit-build-core does not take them.
    """
    from scikit_build_core.settings.skbuild_read_settings import SettingsReader

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            reader = SettingsReader(
                dict(pyproject),
                _config_settings(),
                state=state,  # type: ignore[arg-type]
                env={**os.environ, NO_PROVIDERS: "1"},
            )
            reader.validate_may_exit()
    except (Exception, SystemExit) as error:
        text = re.sub(r"(?m)^WARNING: .*\n", "", said.getvalue()).strip()
        text = text or "; ".join(_messages(error))
        raise ConfigError(
            "scikit-build-core cannot read its settings",
            where="pyproject.toml: tool.scikit-build",
            why=text.replace("ERROR: ", ""),
            fix="correct [tool.scikit-build]",
        ) from error
    return reader.settings


def _messages(error: BaseException) -> list[str]:
    """What an error says, or those that it is a group of."""
    if isinstance(error, BaseExceptionGroup):
        return [message for each in error.exceptions for message in _messages(each)]
    notes = getattr(error, "__notes__", [])
    return [" ".join([str(error), *(f"({note})" for note in notes)])]


def _config_settings() -> dict[str, Any]:
    """What the frontend was given by ``-C``.

    scikit-build-core does not pass them to providers of settings; PEP 517 fixes the names of the
    hooks and of this parameter, so they are found in the frames that called.
    """
    frame: FrameType | None = sys._getframe()  # noqa: SLF001
    while frame is not None:
        if frame.f_code.co_name in _HOOKS and "config_settings" in frame.f_locals:
            return dict(frame.f_locals["config_settings"] or {})
        frame = frame.f_back
    return {}
