"""Libraries that were compiled before: found by their code, and no more of them than are of use."""

from __future__ import annotations

from pathlib import Path

import pytest

from aotbuild.cache.notes import Notes
from aotbuild.cache.settings import cache_settings
from aotbuild.cache.store import Store
from aotbuild.steps.compile.library_cache import Libraries


@pytest.fixture(params=["cached", "kept"])
def libraries(tmp_path: Path, request: pytest.FixtureRequest) -> Libraries:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    mode = "readwrite" if request.param == "cached" else "off"
    environment = {"AOTBUILD_CACHE_DIR": str(tmp_path / "cache"), "AOTBUILD_CACHE": mode}
    store = Store(cache_settings(environment), Notes(None))
    return Libraries(store, tmp_path / "kept", scratch)


def test_a_library_is_found_by_its_code(libraries: Libraries, tmp_path: Path) -> None:
    library = tmp_path / "model.so"
    for code in ("one", "two"):
        assert libraries.find(code, "kernels", "g++ -O3") is None
        library.write_text(code)
        libraries.keep(library, code, "kernels", "g++ -O3")
        found = libraries.find(code, "kernels", "g++ -O3")
        assert found is not None
        assert found.read_text() == code
    # One step has one library; a cache has those of many.
    places = [*tmp_path.glob("kept/*"), *tmp_path.glob("cache/libraries/*/*")]
    assert len(places) == (2 if libraries.store.on else 1)


def test_other_code_and_other_commands_are_other_libraries(
    libraries: Libraries, tmp_path: Path
) -> None:
    library = tmp_path / "model.so"
    library.write_text("code")
    for code in [
        ("a", "b", "c"),
        ("a", "b", "d"),
        ("a", "d", "c"),
        ("ab", "", "c"),
        ("a", "bc", ""),
    ]:
        assert libraries.find(*code) is None
        libraries.keep(library, *code)
