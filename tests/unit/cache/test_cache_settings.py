"""What the environment says of the cache, and what is told of a value that means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from aotbuild.cache.settings import cache_settings
from aotbuild.errors import ConfigError


def test_the_cache_is_the_user_s_unless_told_otherwise(tmp_path: Path) -> None:
    found = cache_settings({"XDG_CACHE_HOME": str(tmp_path)})
    assert found.mode == "readwrite"
    assert found.directory == tmp_path / "aotbuild"
    assert found.limit == 5 << 30
    assert found.writes
    assert not found.named
    assert found.remote == ""


@pytest.mark.parametrize("relative", ["", "cache"])
def test_without_a_usable_variable_it_is_below_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = cache_settings({"XDG_CACHE_HOME": relative, "AOTBUILD_CACHE_DIR": ""})
    assert found.directory == tmp_path / ".cache" / "aotbuild"


def test_other_systems_have_other_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_settings({}).directory == tmp_path / "Library" / "Caches" / "aotbuild"
    monkeypatch.setattr("sys.platform", "win32")
    found = cache_settings({"LOCALAPPDATA": str(tmp_path)})
    assert found.directory == tmp_path / "aotbuild" / "cache"


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert cache_settings({}).mode == "off"


def test_a_directory_of_the_user_s_choice(tmp_path: Path) -> None:
    found = cache_settings({"AOTBUILD_CACHE_DIR": str(tmp_path / "own")})
    assert found.directory == tmp_path / "own"
    assert found.named
    assert cache_settings({"AOTBUILD_CACHE_DIR": "~/own"}).directory == Path.home() / "own"


@pytest.mark.parametrize(
    "url", ["s3://bucket/cache", "memory://cache", "file:///srv/cache", "simplecache::s3://b/c"]
)
def test_an_url_is_behind_a_directory_of_this_machine(tmp_path: Path, url: str) -> None:
    found = cache_settings({"AOTBUILD_CACHE_DIR": url, "XDG_CACHE_HOME": str(tmp_path)})
    assert found.remote == url
    assert found.directory == tmp_path / "aotbuild"


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1000", 1000), ("500M", 500 << 20), ("2g", 2 << 30), ("1.5 GiB", 3 << 29)],
)
def test_sizes(text: str, size: int) -> None:
    assert cache_settings({"AOTBUILD_CACHE_SIZE": text}).limit == size


def test_modes(tmp_path: Path) -> None:
    place = {"AOTBUILD_CACHE_DIR": str(tmp_path)}
    assert cache_settings({**place, "AOTBUILD_CACHE": "off"}).directory is None
    read = cache_settings({**place, "AOTBUILD_CACHE": "read"})
    assert read.directory == tmp_path
    assert not read.writes


@pytest.mark.parametrize(
    ("name", "value", "what", "fix"),
    [
        ("CACHE", "on", 'there is no cache mode "on"', "off, read, readwrite"),
        ("CACHE_DIR", "build/cache", "the cache directory build/cache is relative", "absolute"),
        ("CACHE_SIZE", "5 apples", '"5 apples" is no size', "2G"),
        ("CACHE_SIZE", "-1", '"-1" is no size', "0 for any size"),
        ("CACHE_TIMEOUT", "soon", '"soon" is no number of seconds', "above 0"),
        ("CACHE_TIMEOUT", "0", '"0" is no number of seconds', "above 0"),
    ],
)
def test_what_means_nothing_is_refused(name: str, value: str, what: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cache_settings({f"AOTBUILD_{name}": value})
    assert caught.value.what == what
    assert caught.value.where == f"environment: AOTBUILD_{name}"
    assert fix in caught.value.fix
