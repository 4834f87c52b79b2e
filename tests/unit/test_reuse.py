"""Libraries that were compiled before: found by their code, and no more of them than are of use."""

from __future__ import annotations

from pathlib import Path

import pytest

from aotbuild.build.reuse import Libraries


@pytest.mark.parametrize("cached", [True, False])
def test_a_library_is_found_by_its_code(tmp_path: Path, *, cached: bool) -> None:
    libraries = Libraries(tmp_path / "kept", cached=cached)
    library = tmp_path / "model.so"
    for code in ("one", "two"):
        place = libraries.place(code, "kernels", "g++ -O3")
        assert not place.exists()
        library.write_text(code)
        libraries.keep(library, place)
        assert place.read_text() == code
        assert place == libraries.place(code, "kernels", "g++ -O3")
    # One step has one library; a cache has those of many.
    assert len(list((tmp_path / "kept").iterdir())) == (2 if cached else 1)


def test_other_code_and_other_commands_are_other_libraries(tmp_path: Path) -> None:
    libraries = Libraries(tmp_path, cached=False)
    codes = [("a", "b", "c"), ("a", "b", "d"), ("a", "d", "c"), ("ab", "", "c"), ("a", "bc", "")]
    assert len({libraries.place(*code) for code in codes}) == len(codes)
