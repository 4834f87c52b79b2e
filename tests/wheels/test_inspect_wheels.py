"""``aotbuild inspect`` on real wheels: the page shows what it prints, and no weights are read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from wheels import REPOSITORY, STANDALONE, TORCH, Installed

PAGE = REPOSITORY / "docs" / "commands.md"
CHANGES = (
    r"[\d.]+ [kMG]?B|\d+%|\d\.\de-\d\d|linux_\w+|cpu-[\w-]+|linux-\w+|2\.1\d\.\d\+?\w*|g\+\+ \(.*"
)
"""What differs between machines and versions."""


def inspect(*arguments: str | Path) -> str:
    command = [sys.executable, "-P", "-m", "aotbuild", "inspect", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def told(text: str) -> list[str]:
    """Lines without what differs, and without the room between columns."""
    return [" ".join(re.sub(CHANGES, "N", line).split()) for line in text.splitlines()]


def test_the_page_shows_what_is_printed(installed: Callable[..., Installed]) -> None:
    wheel = installed("example_project", STANDALONE).wheel
    shown = re.search(
        r"^\$ aotbuild inspect .*?\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert shown
    page, printed = told(shown[1]), told(inspect(wheel))
    # The parts go by their size, which differs.
    parts = page.index("part size of all")
    assert printed[:parts] == page[:parts]
    assert sorted(printed[parts:]) == sorted(page[parts:])


def test_a_wheel_and_what_is_installed_of_it_are_told_alike(
    installed: Callable[..., Installed],
) -> None:
    for runtime in (STANDALONE, TORCH):
        example = installed("example_project", runtime)
        wheel, package = json.loads(
            inspect("--json", example.wheel, example.directory / "digits" / "models")
        )
        (models,) = wheel["packages"]
        (again,) = package["packages"]
        for model in (*models["models"], *again["models"]):
            for variant in model["variants"]:
                variant["file"] = variant["file"].removeprefix("digits/models/")
        assert models == again
        runtimes = {v["runtime"] for m in models["models"] for v in m["variants"]}
        assert runtimes == {runtime}
        assert bool(wheel["requires"]) == (runtime == TORCH)
        with zipfile.ZipFile(example.wheel) as archive:
            assert wheel["installed"] == sum(info.file_size for info in archive.infolist())


def test_two_wheels_of_one_project_differ_by_their_runtime(
    installed: Callable[..., Installed],
) -> None:
    old, new = (installed("example_project", runtime).wheel for runtime in (STANDALONE, TORCH))
    found = {each["what"]: each for each in json.loads(inspect("--json", "--diff", old, new))}
    (runtime,) = (each for what, each in found.items() if re.search(r"\.net\..*\.runtime$", what))
    assert (runtime["old"], runtime["new"]) == (STANDALONE, TORCH)
    assert not any(".dims" in what or ".inputs" in what or ".returns" in what for what in found)
