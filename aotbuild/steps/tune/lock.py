"""The lock file: what tuning measured and chose, which the project commits.

Builds take from it which recipe each model is compiled by, and which CPU levels are worth their
place, so that none of it depends on the machine or the moment. Nothing here imports torch.
"""

from __future__ import annotations

import json
import platform
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aotbuild.config.messages import choose_from, joined
from aotbuild.config.parse import parse_table
from aotbuild.config.project import LOCK_FILE
from aotbuild.errors import ConfigError, DiskError
from aotbuild.steps.artifacts.spec import as_table
from aotbuild.steps.artifacts.tuning import measured
from aotbuild.steps.files import write_if_changed
from aotbuild.steps.tune.recipes import RECIPES
from aotbuild.target import TARGETS

FILE = LOCK_FILE

FORMAT = 1

_AGAIN = "python -m aotbuild tune"
_HEAD = f"""\
# What aotbuild measured when it tuned the models. Commit this file: builds take from it what is
# chosen, and measure nothing. To measure again: {_AGAIN}
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How one candidate did."""

    microseconds: float | None = None
    """Median time of a call at the example's sizes, on one thread."""
    ratio: float | None = None
    """Its time by that of the winner: the median of rounds in which all took turns."""
    interval: list[float] | None = None
    """The 95% interval of the ratio."""
    error: float | None = None
    """Largest difference from the eager model, by the largest magnitude of the output it is in."""
    note: str | None = None
    """Why it was not timed."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The recipe of one method for one target."""

    recipe: str
    """The winner."""
    program: str
    """Fingerprint of the exported program that was measured."""
    settings: str
    """Fingerprint of the options that it was compiled with besides the recipe."""
    sizes: dict[str, int] = field(default_factory=dict)
    """The sizes of the dimensions that were timed."""
    cpu: str = ""
    torch: str = ""
    aotbuild: str = ""
    candidates: dict[str, Measured] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Levels:
    """The CPU levels of one method that are worth their place."""

    kept: list[str]
    """Names of targets."""
    ratios: dict[str, float] = field(default_factory=dict)
    """How many times as fast as the best lower one that is kept each was."""
    cpu: str = ""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """All that is pinned."""

    version: int = FORMAT
    choices: dict[str, dict[str, dict[str, Choice]]] = field(default_factory=dict)
    """By model, method and target."""
    levels: dict[str, dict[str, Levels]] = field(default_factory=dict)
    """By model and method."""

    @property
    def models(self) -> set[str]:
        """The models of which something is pinned."""
        return {*self.choices, *self.levels}

    def choice(self, model: str, method: str, target: str) -> Choice | None:
        """What is pinned for one target of a method.

        Args:
            model: The model's name.
            method: The method's name.
            target: The target's name.
        """
        return self.choices.get(model, {}).get(method, {}).get(target)

    def levels_of(self, model: str, method: str) -> Levels | None:
        """The levels that are pinned for a method."""
        return self.levels.get(model, {}).get(method)

    def updated(self, newer: Lock, models: Iterable[str]) -> Lock:
        """With what another one has in addition or anew, and without undeclared models."""
        known = set(models)
        choices = {m: {k: dict(t) for k, t in own.items()} for m, own in self.choices.items()}
        for model, methods in newer.choices.items():
            for method, targets in methods.items():
                choices.setdefault(model, {}).setdefault(method, {}).update(targets)
        levels = {model: dict(own) for model, own in self.levels.items()}
        for model, more in newer.levels.items():
            levels.setdefault(model, {}).update(more)
        return Lock(
            choices={name: own for name, own in choices.items() if name in known},
            levels={name: own for name, own in levels.items() if name in known},
        )


def as_lock_table(lock: Lock) -> dict[str, Any]:
    """A lock as a plain table, as steps hand it on."""
    table: dict[str, Any] = as_table(lock)
    return table


def collected(files: Iterable[str]) -> Lock:
    """What steps of a build measured, from the files that they wrote."""
    lock = Lock()
    for file, table in measured(files):
        newer = parse_table(Lock, table, file)
        lock = lock.updated(newer, {*lock.models, *newer.models})
    return lock


def cpu_name() -> str:
    """The name of this machine's CPU; empty where the system does not tell it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def read_lock(project: Path) -> Lock:
    """Read the lock file of a project; an empty one where there is none.

    Raises:
        ConfigError: It is not what aotbuild wrote.
    """
    try:
        text = (project / FILE).read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except FileNotFoundError:
        return Lock()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the lock file is not valid TOML",
            where=FILE,
            why=str(error),
            fix="take it from the last commit, or remove it and measure again: " + _AGAIN,
        ) from error
    version = table.get("version")
    if version != FORMAT:
        raise ConfigError(
            f"the lock file has the format {version!r}, this aotbuild reads {FORMAT}",
            where=f"{FILE}: version",
            fix=f"build with the aotbuild that wrote it, or measure again: {_AGAIN}",
        )
    try:
        lock = parse_table(Lock, table, "")
    except ConfigError as error:
        # The parser knows one file.
        where = re.sub(r"^pyproject\.toml: \.?", f"{FILE}: ", error.where)
        raise ConfigError(
            error.what,
            where=where.rstrip(": "),
            why=error.why,
            fix=f"{error.fix}\nor measure again: {_AGAIN}",
        ) from error
    _check(lock)
    return lock


def _check(lock: Lock) -> None:
    for model, methods in lock.choices.items():
        for method, targets in methods.items():
            for target, choice in targets.items():
                path = joined(joined(joined("choices", model), method), target)
                _check_target(target, path)
                _check_choice(choice, path)
    for model, own in lock.levels.items():
        for method, levels in own.items():
            path = joined(joined("levels", model), method)
            for target in levels.kept:
                _check_target(target, f"{path}.kept")


def _check_target(target: str, path: str) -> None:
    if target not in TARGETS:
        raise ConfigError(
            f'there is no target "{target}"',
            where=f"{FILE}: {path}",
            fix=f"{choose_from(target, TARGETS)}\nor measure again: {_AGAIN}",
        )


def _check_choice(choice: Choice, path: str) -> None:
    for name in (choice.recipe, *choice.candidates):
        if name not in RECIPES:
            raise ConfigError(
                f'there is no recipe "{name}"',
                where=f"{FILE}: {path}",
                why="another version of aotbuild may have had it",
                fix=f"{choose_from(name, RECIPES)}\nor measure again: {_AGAIN}",
            )
    winner = choice.candidates.get(choice.recipe)
    if winner is None or winner.microseconds is None:
        raise ConfigError(
            f'the recipe "{choice.recipe}" is none of the candidates that were timed',
            where=f"{FILE}: {path}.recipe",
            fix=f"take the file from the last commit, or measure again: {_AGAIN}",
        )


def lock_text(lock: Lock) -> str:
    """The text of the lock file: the same for the same content."""
    table = as_table(lock)
    lines = [_HEAD.rstrip("\n"), f"version = {table['version']}"]
    for model, methods in sorted(table["choices"].items()):
        for method, targets in sorted(methods.items()):
            for target, choice in sorted(targets.items()):
                candidates = choice.pop("candidates")
                lines += ["", f"[{_path('choices', model, method, target)}]"]
                lines += [f"{_key(key)} = {_value(value)}" for key, value in choice.items()]
                lines += ["", f"[{_path('choices', model, method, target, 'candidates')}]"]
                lines += [f"{_key(name)} = {_value(each)}" for name, each in candidates.items()]
    for model, own in sorted(table["levels"].items()):
        for method, levels in sorted(own.items()):
            lines += ["", f"[{_path('levels', model, method)}]"]
            lines += [f"{_key(key)} = {_value(value)}" for key, value in levels.items()]
    return "\n".join(lines) + "\n"


def write_lock(project: Path, lock: Lock) -> None:
    """Write the lock file of a project."""
    write_if_changed(project / FILE, lock_text(lock))


def add_to_lock(project: Path, newer: Lock) -> str:
    """Add what a build measured to the lock file of its project.

    The directory of an unpacked source distribution is thrown away: nothing is written there.

    Returns:
        What the log says about it.
    """
    lock = read_lock(project)
    lock = lock.updated(newer, {*lock.models, *newer.models})
    why = "the project is an unpacked source distribution"
    if not (project / "PKG-INFO").exists():
        try:
            write_lock(project, lock)
        except (OSError, DiskError) as error:
            why = str(error)
        else:
            return f"aotbuild: wrote {FILE} in the project: commit it, and builds measure nothing"
    return (
        f"aotbuild: {FILE} is not written: {why}; to build the same again, "
        f"put this into the project as {FILE}:\n{lock_text(lock)}"
    )


def _path(*keys: str) -> str:
    return ".".join(map(_key, keys))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        return f"{{ {', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(float(f"{value:.4g}"))
    return json.dumps(value, ensure_ascii=False)


def timed(choice: Choice) -> dict[str, Measured]:
    """The candidates that were timed, the fastest first."""
    done = {k: m for k, m in choice.candidates.items() if m.microseconds is not None}
    return dict(sorted(done.items(), key=lambda item: item[1].microseconds or 0.0))


def summary(label: str, target: str, choice: Choice) -> str:
    """A line about a choice, for a log.

    Args:
        label: The method, as messages name it.
        target: The target's name.
        choice: The choice, whose winner was timed.
    """
    others = {k: m for k, m in timed(choice).items() if k != choice.recipe}
    own = choice.candidates[choice.recipe]
    text = f"aotbuild: {label}: {target} by the recipe {choice.recipe}, {own.microseconds:.4g} us"
    if own.error is not None and RECIPES[choice.recipe].precision:
        text += f", error {own.error:.2g}"
    for second, candidate in list(others.items())[:1]:
        text += f"; {second} takes {candidate.ratio or 0:.3g} x as long"
    return text
