"""The lock file: what is read is what was written, and a broken one is told with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from samples import PYPROJECT, edited, write_project

from aotbuild.config.project import load_project
from aotbuild.errors import ConfigError
from aotbuild.steps.tune.lock import (
    FILE,
    Choice,
    Levels,
    Lock,
    Measured,
    add_to_lock,
    as_lock_table,
    collected,
    lock_text,
    read_lock,
    summary,
    write_lock,
)

V3, V4 = "cpu-x86-64-v3", "cpu-x86-64-v4"
CHOICE = Choice(
    recipe="frozen",
    program="0123",
    settings="4567",
    sizes={"batch": 4},
    cpu='Some "CPU" of a vendor',
    torch="2.13.0",
    aotbuild="0.1.0",
    candidates={
        "passes": Measured(microseconds=12.5, ratio=1.25, interval=[1.2, 1.3], error=1e-7),
        "frozen": Measured(microseconds=10.0, ratio=1.0, interval=[1.0, 1.0], error=2e-7),
        "plain": Measured(note="the same code as passes"),
    },
)
LOCK = Lock(
    choices={
        "net": {"forward": {V4: CHOICE, V3: CHOICE}, "encode": {V3: CHOICE}},
        "größe": {"forward": {V3: CHOICE}},
    },
    levels={"net": {"forward": Levels(kept=[V3], ratios={V4: 1.037}, cpu="x")}},
)


def broken(tmp_path: Path, text: str) -> ConfigError:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_lock(tmp_path)
    return caught.value


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_lock(tmp_path, LOCK)
    assert read_lock(tmp_path) == LOCK
    assert lock_text(read_lock(tmp_path)) == lock_text(LOCK)


def test_the_text_does_not_depend_on_the_order_of_what_was_measured() -> None:
    turned = Lock(choices=dict(reversed(LOCK.choices.items())), levels=LOCK.levels)
    assert lock_text(turned) == lock_text(LOCK)
    lines = lock_text(LOCK).splitlines()
    assert f"[choices.net.forward.{V3}]" in lines
    assert f'[choices."größe".forward.{V3}.candidates]' in lines
    assert 'plain = { note = "the same code as passes" }' in lines


def test_without_a_file_nothing_is_pinned(tmp_path: Path) -> None:
    assert read_lock(tmp_path) == Lock()
    assert read_lock(tmp_path).choice("net", "forward", V3) is None
    assert read_lock(tmp_path).levels_of("net", "forward") is None


def test_newer_measurements_replace_those_of_the_same_target_alone() -> None:
    newer = Lock(choices={"net": {"forward": {V3: Choice(recipe="x", program="", settings="")}}})
    found = LOCK.updated(newer, {"net"})
    assert found.models == {"net"}  # the other one is declared no more
    assert found.choices["net"]["forward"][V3].recipe == "x"
    assert found.choices["net"]["forward"][V4] == CHOICE
    assert found.choices["net"]["encode"] == LOCK.choices["net"]["encode"]
    assert found.levels == LOCK.levels


def test_what_steps_measured_is_collected(tmp_path: Path) -> None:
    one, two = tmp_path / "tuned.json", tmp_path / "levels.json"
    pinned = tmp_path / "pinned.json"
    one.write_text(json.dumps({"recipe": "x", "lock": as_lock_table(Lock(choices=LOCK.choices))}))
    two.write_text(json.dumps({"left-out": [], "lock": as_lock_table(Lock(levels=LOCK.levels))}))
    pinned.write_text(json.dumps({"recipe": "x"}))
    assert collected(map(str, (one, two, pinned))) == LOCK
    assert collected([str(pinned)]).models == set()


def test_a_build_writes_the_lock_file_beside_pyproject(tmp_path: Path) -> None:
    assert "commit it" in add_to_lock(tmp_path, LOCK)
    assert read_lock(tmp_path) == LOCK


def test_in_an_unpacked_sdist_it_is_only_told(tmp_path: Path) -> None:
    (tmp_path / "PKG-INFO").touch()
    said = add_to_lock(tmp_path, LOCK)
    assert not (tmp_path / FILE).exists()
    assert "unpacked source distribution" in said
    assert lock_text(LOCK) in said


def test_the_lock_file_is_part_of_the_sdist(tmp_path: Path) -> None:
    root = write_project(tmp_path, PYPROJECT)
    before = load_project(root)
    assert before is not None
    files = before.files
    assert FILE not in files
    write_lock(root, LOCK)
    after = load_project(root)
    assert after is not None
    assert after.files == [*files, FILE]


def test_a_summary_tells_the_winner_and_the_next() -> None:
    said = summary("net", V3, CHOICE)
    assert said.endswith("by the recipe frozen, 10 us; passes takes 1.25 x as long")


TEXT = lock_text(Lock(choices={"net": {"forward": {V3: CHOICE}}}, levels=LOCK.levels))


@pytest.mark.parametrize(
    ("old", "new", "what", "where", "fix"),
    [
        ("version = 1", "version 1", "is not valid TOML", FILE, "python -m aotbuild tune"),
        ("version = 1", "version = 7", "has the format 7", "version", "measure again"),
        ("version = 1\n", "", "has the format None", "version", "measure again"),
        (
            "sizes =",
            "size =",
            'unknown key "size"',
            f"choices.net.forward.{V3}.size",
            'did you mean "sizes"?',
        ),
        (
            'program = "0123"',
            "program = 3",
            "expected a string",
            f"choices.net.forward.{V3}.program",
            "measure again",
        ),
        (
            'program = "0123"\n',
            "",
            '"program" is missing',
            f"choices.net.forward.{V3}",
            "measure again",
        ),
        (
            'recipe = "frozen"',
            'recipe = "frosen"',
            'there is no recipe "frosen"',
            f"choices.net.forward.{V3}",
            'did you mean "frozen"?',
        ),
        (
            'recipe = "frozen"',
            'recipe = "plain"',
            "none of the candidates that were timed",
            f"choices.net.forward.{V3}.recipe",
            "measure again",
        ),
        (
            'recipe = "frozen"',
            'recipe = "gemm-templates"',
            "none of the candidates that were timed",
            f"choices.net.forward.{V3}.recipe",
            "measure again",
        ),
        (
            f"choices.net.forward.{V3}]",
            "choices.net.forward.cpu-x86-64-v9]",
            'there is no target "cpu-x86-64-v9"',
            "choices.net.forward.cpu-x86-64-v9",
            "choose from",
        ),
        (
            f'kept = ["{V3}"]',
            'kept = ["v3"]',
            'there is no target "v3"',
            "levels.net.forward.kept",
            "choose from",
        ),
    ],
)
def test_a_broken_file_is_told(
    tmp_path: Path, old: str, new: str, what: str, where: str, fix: str
) -> None:
    text = TEXT.replace(f".{V3}.candidates", ".cpu-x86-64-v9.candidates") if "v9" in new else TEXT
    error = broken(tmp_path, edited(old, new, text))
    assert what in error.what
    assert error.where == (FILE if where == FILE else f"{FILE}: {where}")
    assert fix in error.fix
    assert "python -m aotbuild tune" in error.fix
    assert "pyproject.toml" not in error.block()


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_lock(tmp_path)
