"""``aotbuild cache``: what is in the cache, and removing it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from aotbuild.__main__ import main
from aotbuild.commands.cache import CacheReport

DAY = 86400


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache: three models, an engine, and headers that were just used."""
    directory = tmp_path / "cache"
    monkeypatch.delenv("AOTBUILD_CACHE", raising=False)
    monkeypatch.setenv("AOTBUILD_CACHE_DIR", str(directory))
    sizes = {"compiled/0a/0a1": 4000, "compiled/0a/0a2": 2000, "compiled/ff/ff1": 1000}
    for age, (name, size) in enumerate({**sizes, "engines/12/121": 500}.items()):
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"1" * size)
        os.utime(file, (time.time() - 10 * DAY * age - 100,) * 2)
    (directory / "headers" / "one").mkdir(parents=True)
    (directory / "headers" / "one" / "a.gch").write_bytes(b"1" * 9000)
    (directory / "compiled" / "one.lock").touch()
    return directory


def entries(directory: Path) -> set[str]:
    return {file.name for file in directory.rglob("*") if file.is_file() and not file.suffix}


def test_kinds_are_told(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    first, *rows = capsys.readouterr().out.splitlines()
    assert first == f"{cache}: 16.5 kB of 5.4 GB"
    assert [row.split()[:4] for row in rows] == [
        ["of", "entries", "size", "last"],
        ["headers", "1", "9.0", "kB"],
        ["compiled", "3", "7.0", "kB"],
        ["engines", "1", "500", "B"],
    ]


def test_programs_get_json(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "--json"]) == 0
    out = capsys.readouterr().out
    TypeAdapter(CacheReport).validate_json(out, strict=True, extra="forbid")
    said = json.loads(out)
    assert (said["directory"], said["size"]) == (str(cache), 16500)
    assert [kind["entries"] for kind in said["kinds"]] == [1, 3, 1]


def test_an_empty_cache_is_told(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["AOTBUILD_CACHE_DIR"] = str(cache / "none" / "yet")
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == f"{cache}/none/yet: 0 B of 5.4 GB\n"


def test_what_is_old_goes(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "prune", "--unused-days", "15"]) == 0
    assert capsys.readouterr().out == "removed 2 entries of 1.5 kB, 15.0 kB are left\n"
    assert entries(cache) == {"0a1", "0a2"}


def test_what_is_too_much_goes(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "prune", "--max-size", "15K"]) == 0
    assert "removed 3 entries" in capsys.readouterr().out
    assert entries(cache) == {"0a1"}


def test_all_goes_but_what_a_build_may_use(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "prune", "--all"]) == 0
    assert "removed 4 entries of 7.5 kB, 9.0 kB are left" in capsys.readouterr().out
    assert entries(cache) == set()
    assert (cache / "headers" / "one" / "a.gch").exists()
    os.utime(cache / "headers" / "one", (1, 1))
    assert main(["cache", "prune", "--all"]) == 0
    assert not (cache / "headers" / "one").exists()


def test_no_size_is_told(cache: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cache", "prune", "--max-size", "lots"])
    said = str(ended.value.code)
    assert '"lots" is no size' in said
    assert "command line: --max-size" in said
    assert len(entries(cache)) == 4


def test_no_cache_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AOTBUILD_CACHE", "off")
    with pytest.raises(SystemExit) as ended:
        main(["cache"])
    assert "there is no cache on this machine" in str(ended.value.code)
