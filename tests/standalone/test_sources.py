"""Which sources a build links for a function that a model calls."""

from __future__ import annotations

import re
import subprocess

from library import ROOT, SOURCES, Library

from aotbuild.steps.compile.standalone import missing_symbols, needed

_OWN = re.compile(r"aoti_torch_|Sleef_|GOMP_|omp_|_ZN\w*8aotbuild")


def defined_by_source(library: Library) -> dict[str, set[str]]:
    found = {}
    for name, path in library.objects.items():
        symbols = subprocess.run(
            ["nm", "-g", "--defined-only", path], check=True, text=True, capture_output=True
        ).stdout
        found[name] = set(re.findall(r"\bT ((?:aoti_torch|Sleef)_\w+)", symbols))
    return found


def test_each_function_is_found(library: Library) -> None:
    defined = [(s, name) for s, names in defined_by_source(library).items() for name in names]
    assert len(defined) > 200
    assert [(source, name) for source, name in defined if source not in needed([name])] == []


def test_what_a_source_calls_is_found(library: Library) -> None:
    for source, names in defined_by_source(library).items():
        chosen, wanted, missing = set[str](), needed(names), set[str]()
        while not chosen.issuperset(wanted):
            chosen.update(wanted)
            missing = missing_symbols(library.objects[each] for each in chosen)
            wanted = needed(missing)
        assert [symbol for symbol in missing if _OWN.match(symbol)] == [], source


def test_what_no_source_defines_adds_none() -> None:
    assert needed(["aoti_torch_cpu_geqrf", "memcpy"]) == needed([])


def test_what_the_engine_looks_up_is_exported() -> None:
    exported = set(re.findall(r"^ +(\w+);", (SOURCES / "exported.map").read_text(), re.MULTILINE))
    engine = "".join(path.read_text() for path in (ROOT / "aotbuild/engine").glob("*.c"))
    names = set(re.findall(r'"(AOTInductor\w+|aotbuild_find)"', engine))
    assert len(names) > 10
    assert names <= exported


def test_streams_are_set_up_where_code_uses_them() -> None:
    assert "streams" not in needed(["memcpy"])
    assert set(needed(["_ZSt4cerr"])) - set(needed([])) == {"streams"}
