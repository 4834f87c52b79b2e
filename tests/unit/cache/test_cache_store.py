"""Entries of the cache: whole or not there, whatever happens to them, to writers or to the disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from aotbuild.cache import local
from aotbuild.cache.entry import DamagedError, read_entry, write_entry
from aotbuild.cache.notes import Notes
from aotbuild.cache.settings import cache_settings
from aotbuild.cache.store import Found, Store

KEY, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Files to keep."""
    source = tmp_path / "made"
    source.mkdir()
    found = {"library.so": b"code" * 1000, "empty": b"", "compiled.json": b"{}\n"}
    for name, data in found.items():
        (source / name).write_bytes(data)
    return {name: source / name for name in found}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where what is found goes."""
    directory = tmp_path / "found"
    directory.mkdir()
    return directory


MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """A store of a build, or of one more."""

    def make(build: str = "build", **environment: str) -> Store:
        (tmp_path / build).mkdir(exist_ok=True)
        given = {"AOTBUILD_CACHE_DIR": str(tmp_path / "cache"), **environment}
        return Store(cache_settings(given), Notes(tmp_path / build))

    return make


def entries(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.glob("cache/*/*/*") if path.is_file()]


def test_what_was_kept_is_found(
    make_store: MakeStore, files: dict[str, Path], place: Path, tmp_path: Path
) -> None:
    make_store().put("compiled", KEY, files)
    store = make_store("other-build")
    assert store.get("compiled", KEY, place) is Found.HIT
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {
        name: file.read_bytes() for name, file in files.items()
    }
    assert store.get("compiled", OTHER, place) is Found.MISSING
    assert store.get("libraries", KEY, place) is Found.MISSING
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700  # nobody else's


def test_modes(make_store: MakeStore, files: dict[str, Path], place: Path, tmp_path: Path) -> None:
    make_store(AOTBUILD_CACHE="off").put("compiled", KEY, files)
    make_store(AOTBUILD_CACHE="read").put("compiled", KEY, files)
    assert not (tmp_path / "cache").exists()
    make_store().put("compiled", KEY, files)
    assert make_store(AOTBUILD_CACHE="off").get("compiled", KEY, place) is Found.MISSING
    assert make_store(AOTBUILD_CACHE="read").get("compiled", KEY, place) is Found.HIT


def _cut(data: bytes) -> bytes:
    return data[:-1]


def _flip(data: bytes) -> bytes:
    return data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]


def _lengthen(data: bytes) -> bytes:
    return data + b"x"


def _poison(data: bytes) -> bytes:
    """Other code under the old digest."""
    return data.replace(b"code", b"evil")


def _escape(data: bytes) -> bytes:
    return data.replace(b'"library.so"', b'"../brary.so"')


def _empty(_: bytes) -> bytes:
    return b""


def _garbage(data: bytes) -> bytes:
    return data[:83] + b"\xff\n" + data[83:]


DAMAGE = [_cut, _flip, _lengthen, _poison, _escape, _empty, _garbage]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda function: function.__name__.strip("_"))
def test_a_damaged_entry_is_told_and_removed(
    make_store: MakeStore,
    files: dict[str, Path],
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[bytes], bytes],
) -> None:
    store = make_store()
    store.put("compiled", KEY, files)
    (entry,) = entries(tmp_path)
    entry.write_bytes(damage(entry.read_bytes()))
    assert store.get("compiled", KEY, place) is Found.DAMAGED
    assert list(place.iterdir()) == []  # nothing of it is used
    said = capsys.readouterr().err
    assert "aotbuild: warning: an entry of the cache is damaged" in said
    assert str(entry) in said
    assert not entry.exists()
    store.put("compiled", KEY, files)
    assert store.get("compiled", KEY, place) is Found.HIT


def test_an_entry_under_the_key_of_another_is_damaged(
    make_store: MakeStore, files: dict[str, Path], place: Path, tmp_path: Path
) -> None:
    store = make_store()
    store.put("compiled", KEY, files)
    (entry,) = entries(tmp_path)
    moved = entry.parents[1] / OTHER[:2] / OTHER
    moved.parent.mkdir()
    entry.rename(moved)
    assert store.get("compiled", OTHER, place) is Found.DAMAGED
    assert list(place.iterdir()) == []


def test_a_damaged_entry_stays_where_nothing_may_be_written(
    make_store: MakeStore, files: dict[str, Path], place: Path, tmp_path: Path
) -> None:
    make_store().put("compiled", KEY, files)
    (entry,) = entries(tmp_path)
    entry.write_bytes(b"")
    store = make_store(AOTBUILD_CACHE="read")
    assert store.get("compiled", KEY, place) is Found.DAMAGED
    assert entry.exists()


WRITER = """
import sys
from pathlib import Path
from aotbuild.cache.notes import Notes
from aotbuild.cache.settings import cache_settings
from aotbuild.cache.store import Store

store = Store(cache_settings({"AOTBUILD_CACHE_DIR": sys.argv[1]}), Notes(None))
print("ready", flush=True)
while True:
    store.put("compiled", sys.argv[2], {"library.so": Path(sys.argv[3])})
"""


def test_writers_that_are_killed_leave_no_half_entry(
    make_store: MakeStore, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = tmp_path / "library.so"
    library.write_bytes(os.urandom(1 << 20))
    generator = random.Random(0)  # noqa: S311  # the same moments each time
    store = make_store()
    for _ in range(20):  # two at a time, which write the same entry
        running = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path / "cache"), KEY, str(library)],
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(generator.uniform(0, 0.03))
        for process in running:
            process.send_signal(signal.SIGKILL)
        for process in running:
            process.communicate()
        found = store.get("compiled", KEY, place)
        assert found in {Found.HIT, Found.MISSING}
        if found is Found.HIT:
            assert (place / "library.so").read_bytes() == library.read_bytes()
    assert capsys.readouterr().err == ""
    left = list(tmp_path.glob("cache/compiled/*/.tmp-*"))
    hour_ago = time.time() - 4000
    for path in left:
        os.utime(path, (hour_ago, hour_ago))
    store.put("compiled", KEY, {"library.so": library})
    assert len(entries(tmp_path)) == 1  # what was left half-written is swept


def test_the_least_recently_used_go_first(
    make_store: MakeStore, files: dict[str, Path], place: Path, tmp_path: Path
) -> None:
    store = make_store(AOTBUILD_CACHE_SIZE="20K")  # of 4 kB each
    keys = [f"{i:02x}" * 32 for i in range(6)]
    for age, key in zip(range(600, 0, -100), keys, strict=True):
        if key == keys[4]:  # the first one is used again
            assert store.get("compiled", keys[0], place) is Found.HIT
        store.put("compiled", key, files)
        for entry in entries(tmp_path):
            if entry.name == key:
                then = time.time() - age
                os.utime(entry, (then, then))
    left = {entry.name for entry in entries(tmp_path)}
    assert keys[0] in left
    assert keys[5] in left
    assert keys[1] not in left
    assert sum(entry.stat().st_size for entry in entries(tmp_path)) <= 20 << 10


def test_what_is_larger_than_the_cache_is_not_kept(
    make_store: MakeStore, files: dict[str, Path], tmp_path: Path
) -> None:
    make_store(AOTBUILD_CACHE_SIZE="1K").put("compiled", KEY, files)
    assert entries(tmp_path) == []


def test_headers_in_use_stay(tmp_path: Path) -> None:
    old, new = (tmp_path / local.HEADERS / name for name in ("old", "new"))
    for directory, age in ((old, 7200), (new, 60)):
        (directory / "include").mkdir(parents=True)
        (directory / "include" / "all.gch").write_bytes(bytes(1000))
        then = time.time() - age
        os.utime(directory, (then, then))
    (tmp_path / local.HEADERS / "new.lock").touch()
    local.prune(tmp_path, 0)
    assert old.exists()
    local.prune(tmp_path, 10)
    assert not old.exists()
    assert (new / "include" / "all.gch").exists()
    assert (tmp_path / local.HEADERS / "new.lock").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB in place of the cache's directory."""
    directory = tmp_path / "cache"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(directory)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


def test_a_full_disk_is_told_once(
    make_store: MakeStore,
    small_disk: Path,
    tmp_path: Path,
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    library = tmp_path / "library.so"
    library.write_bytes(bytes(100_000))
    for _ in range(2):  # steps of one build
        make_store().put("compiled", KEY, {"library.so": library})
    said = capsys.readouterr().err
    assert said.count("aotbuild: warning:") == 1
    assert f"the cache {small_disk} cannot be written" in said
    assert "No space left on device" in said
    assert "the build goes on without it" in said
    assert entries(tmp_path) == []
    assert make_store().get("compiled", KEY, place) is Found.MISSING
    make_store().begin()  # another build
    make_store().put("compiled", KEY, {"library.so": library})
    assert "cannot be written" in capsys.readouterr().err


def test_a_read_only_directory_is_told_once_and_read(
    make_store: MakeStore,
    small_disk: Path,
    files: dict[str, Path],
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_store().put("compiled", KEY, files)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for _ in range(2):
        make_store().put("compiled", OTHER, files)
    said = capsys.readouterr().err
    assert said.count("aotbuild: warning:") == 1
    assert "AOTBUILD_CACHE=read" in said
    assert make_store().get("compiled", KEY, place) is Found.HIT


def test_a_file_in_place_of_the_directory(
    make_store: MakeStore,
    files: dict[str, Path],
    tmp_path: Path,
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "cache").touch()
    store = make_store()
    store.put("compiled", KEY, files)
    assert store.get("compiled", KEY, place) is Found.MISSING
    said = capsys.readouterr().err
    assert f"the cache {tmp_path / 'cache'} cannot be written" in said
    assert f"the cache {tmp_path / 'cache'} cannot be read" in said


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a machine with a shared cache."""
    yield {"AOTBUILD_CACHE_DIR": "memory://shared", "XDG_CACHE_HOME": str(tmp_path / "one")}
    fsspec.filesystem("memory").store.clear()


def test_machines_share_a_remote(
    make_store: MakeStore,
    shared: dict[str, str],
    files: dict[str, Path],
    place: Path,
    tmp_path: Path,
) -> None:
    make_store(**shared).put("compiled", KEY, files)
    other = {**shared, "XDG_CACHE_HOME": str(tmp_path / "two")}
    assert make_store(**other).get("compiled", OTHER, place) is Found.MISSING
    assert make_store(**other).get("compiled", KEY, place) is Found.HIT
    assert (place / "library.so").read_bytes() == files["library.so"].read_bytes()
    fsspec.filesystem("memory").store.clear()
    assert make_store(**other).get("compiled", KEY, place) is Found.HIT  # it has its own now


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_a_mounted_directory_may_be_the_remote(
    make_store: MakeStore,
    files: dict[str, Path],
    place: Path,
    tmp_path: Path,
    scheme: str,
) -> None:
    given = {
        "AOTBUILD_CACHE_DIR": f"{scheme}://{tmp_path}/share",
        "XDG_CACHE_HOME": str(tmp_path / "one"),
    }
    make_store(**given).put("compiled", KEY, files)
    assert [path.name for path in (tmp_path / "share").glob("*/*/*")] == [KEY]
    other = {**given, "XDG_CACHE_HOME": str(tmp_path / "two")}
    assert make_store(**other).get("compiled", KEY, place) is Found.HIT


def test_a_machine_that_only_reads_leaves_nothing(
    make_store: MakeStore,
    shared: dict[str, str],
    files: dict[str, Path],
    place: Path,
    tmp_path: Path,
) -> None:
    make_store(**shared).put("compiled", KEY, files)
    other = {**shared, "XDG_CACHE_HOME": str(tmp_path / "two"), "AOTBUILD_CACHE": "read"}
    make_store(**other).put("compiled", OTHER, files)
    assert make_store(**other).get("compiled", KEY, place) is Found.HIT
    assert make_store(**other).get("compiled", OTHER, place) is Found.MISSING
    assert not (tmp_path / "two").exists()


def test_a_poisoned_entry_of_a_remote_is_told_and_replaced(
    make_store: MakeStore,
    shared: dict[str, str],
    files: dict[str, Path],
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_store(**shared).put("compiled", KEY, files)
    memory = fsspec.filesystem("memory")
    name = f"/shared/compiled/ab/{KEY}"
    memory.pipe(name, _poison(memory.cat(name)))
    other = make_store(**{**shared, "XDG_CACHE_HOME": str(tmp_path / "two")})
    assert other.get("compiled", KEY, place) is Found.DAMAGED
    assert list(place.iterdir()) == []
    said = capsys.readouterr().err
    assert f"memory://shared/compiled/ab/{KEY}" in said
    other.put("compiled", KEY, files)
    third = make_store(**{**shared, "XDG_CACHE_HOME": str(tmp_path / "three")})
    assert third.get("compiled", KEY, place) is Found.HIT


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/cache", "no-such-scheme://cache"])
def test_an_unreachable_remote_is_told_once(
    make_store: MakeStore,
    files: dict[str, Path],
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    url: str,
) -> None:
    given = {"AOTBUILD_CACHE_DIR": url, "XDG_CACHE_HOME": str(tmp_path / "one")}
    for _ in range(2):  # steps of one build
        assert make_store(**given).get("compiled", KEY, place) is Found.MISSING
    make_store(**given).put("compiled", KEY, files)
    said = capsys.readouterr().err
    assert said.count("aotbuild: warning:") == 1
    assert f"the shared cache {url} cannot be reached" in said
    assert "the build goes on without it" in said
    assert make_store(**given).get("compiled", KEY, place) is Found.HIT  # of this machine


class _Slow(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A remote that never answers."""

    protocol = "slow"

    def get_file(self, *_: object, **__: object) -> None:
        time.sleep(30)

    def put_file(self, *_: object, **__: object) -> None:
        raise PermissionError("read-only credentials")

    def makedirs(self, *_: object, **__: object) -> None:
        pass


def test_a_remote_that_hangs_is_given_up(
    make_store: MakeStore,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fsspec.register_implementation("slow", _Slow, clobber=True)
    given = {
        "AOTBUILD_CACHE_DIR": "slow://cache",
        "AOTBUILD_CACHE_TIMEOUT": "0.2",
        "XDG_CACHE_HOME": str(tmp_path / "one"),
    }
    start = time.monotonic()
    for _ in range(3):
        assert make_store(**given).get("compiled", KEY, place) is Found.MISSING
    assert time.monotonic() - start < 30  # which one answer takes
    said = capsys.readouterr().err
    assert said.count("aotbuild: warning:") == 1
    assert "no answer within 0.2 s" in said


def test_a_remote_that_cannot_be_written_is_told_once(
    make_store: MakeStore,
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fsspec.register_implementation("slow", _Slow, clobber=True)
    given = {"AOTBUILD_CACHE_DIR": "slow://cache", "XDG_CACHE_HOME": str(tmp_path / "one")}
    for key in (KEY, OTHER):
        make_store(**given).put("compiled", key, files)
    said = capsys.readouterr().err
    assert said.count("aotbuild: warning:") == 1
    assert "the shared cache slow://cache cannot be written" in said
    assert "PermissionError: read-only credentials" in said


def test_an_entry_is_written_and_read_apart_from_a_store(tmp_path: Path, place: Path) -> None:
    (tmp_path / "a").write_text("1")
    write_entry(tmp_path / "entry", KEY, {"a": tmp_path / "a"})
    assert read_entry(tmp_path / "entry", KEY, place) == ["a"]
    with pytest.raises(DamagedError, match="of another key"):
        read_entry(tmp_path / "entry", OTHER, place)


def test_notes_are_of_one_build(tmp_path: Path) -> None:
    assert Notes(tmp_path).first("this")
    assert not Notes(tmp_path).first("this")
    assert Notes(tmp_path).has("this")
    (note,) = tmp_path.glob("*/this")
    os.utime(note, (0, 0))
    assert not Notes(tmp_path).has("this")
    assert Notes(tmp_path).first("this")
    assert not Notes(tmp_path).first("this")
    Notes(tmp_path).clear()
    assert not Notes(tmp_path).has("this")
    assert Notes(None).first("this")
