"""Where the weights of a package are if not in its wheel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packaging.utils import canonicalize_name

from aotbuild.config.messages import located
from aotbuild.config.schema import Config
from aotbuild.errors import ConfigError


def companion(config: Config, pyproject: Mapping[str, Any]) -> str:
    """The distribution that holds the weights, as a requirement; empty where there is none.

    Raises:
        ConfigError: Its version is not known.
    """
    if config.weights_in != "companion":
        return ""
    project = pyproject.get("project", {})
    version = config.weights_version or project.get("version")
    if version is None:
        raise ConfigError(
            "the wheel of the weights has no version",
            where=located("tool.aotbuild.weights-in"),
            why="project.version is dynamic",
            fix='add to [tool.aotbuild]: weights-version = "1.0"',
        )
    return f"{canonicalize_name(str(project.get('name')))}-weights=={version}"
