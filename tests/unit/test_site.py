"""The site of the documentation: it is built strictly, is whole, and fetches nothing."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import tomllib
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
from source_tree import MODULES, REPOSITORY, page, tree_of

from aotbuild import runtime

PARTS = {"a": "href", "link": "href", "script": "src", "img": "src", "iframe": "src"}
"""What leads to other files, by the attribute that has their address."""


class Html(HTMLParser):
    """What a file of the site refers to, and where others can refer to in it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.refers: dict[str, list[str]] = defaultdict(list)
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {values.get("id") or "", values.get("name") or ""}
        if address := values.get(PARTS.get(tag, "")):
            self.refers[tag].append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", directory],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return directory


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Html]:
    return {file.relative_to(site).as_posix(): Html(file) for file in site.rglob("*.html")}


def test_every_page_of_the_repository_is_in_it(pages: dict[str, Html]) -> None:
    own = {f"{file.stem}.html" for file in (REPOSITORY / "docs").glob("*.md")}
    assert len(own) > 30
    assert own - set(pages) == set()
    assert {"index.html", "contributing.html", "changelog.html", "findings.html"} <= set(pages)


def test_every_link_leads_somewhere(site: Path, pages: dict[str, Html]) -> None:
    seen, broken = 0, []
    for name, html in pages.items():
        for address in [each for found in html.refers.values() for each in found]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or name == "404.html":
                continue
            seen += 1
            path = unquote(parts.path)
            target = (site / name).parent / path if path else site / name
            target = target / "index.html" if target.is_dir() else target
            inside = target.resolve().relative_to(site.resolve()).as_posix()
            whole = not parts.fragment or (
                inside in pages and unquote(parts.fragment) in pages[inside].anchors
            )
            if not (target.exists() and whole):
                broken.append((name, address))
    assert broken == []
    assert seen > 1000


def test_nothing_is_fetched_to_show_a_page(site: Path, pages: dict[str, Html]) -> None:
    parts = {a for html in pages.values() for tag in PARTS if tag != "a" for a in html.refers[tag]}
    assert [address for address in parts if urlsplit(address).netloc] == []
    sheets = [file.read_text(encoding="utf-8") for file in site.rglob("*.css")]
    assert sheets
    assert [text for text in sheets if "url(http" in text or "@import" in text] == []
    # The theme would fetch Mermaid where a page has a diagram for it.
    shown = [file.read_text(encoding="utf-8") for file in site.rglob("*.html")]
    assert [text for text in shown if 'class="mermaid"' in text] == []
    assert sum(text.count('<svg id="merman"') for text in shown) >= 2


def public_names(module: str, cls: str) -> set[str]:
    """What a class of the runtime defines for its users."""
    body = next(
        node.body
        for node in tree_of(MODULES[f"aotbuild.runtime.{module}"]).body
        if isinstance(node, ast.ClassDef) and node.name == cls
    )
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    return {name for name in functions if not name.startswith("_")}


def test_the_runtime_is_documented(pages: dict[str, Html]) -> None:
    anchors = pages["runtime.html"].anchors
    public = {getattr(runtime, name) for name in runtime.__all__}
    # Modules that the build generates use this one.
    classes = {each for each in public if isinstance(each, type)} - {runtime.Refused}
    assert len(classes) >= 7
    assert {f"{each.__module__}.{each.__qualname__}" for each in classes} - anchors == set()
    named = {*public_names("model", "CompiledModel"), *public_names("parameters", "Parameters")}
    assert {"pool", "scan", "target", "merge"} <= named
    assert {f"aotbuild.runtime.model.CompiledModel.{name}" for name in named} - anchors == set()
    assert "aotbuild.runtime.manifest.Manifest.inputs" in pages["manifest.html"].anchors


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "site_hooks", REPOSITORY / "docs" / "_site" / "hooks.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LINKS = {
    "[a](models.md#sizes)": "[a](models.md#sizes)",
    "[a](../README.md#faster)": "[a](index.md#faster)",
    "[`x` y](../aotbuild/errors.py)": "`x` y",
    "[a](../benchmarks/README.md) [b](../Makefile)": "[a](benchmarks-suites.md) b",
    "[a](../no/such.py)": "[a](../no/such.py)",
    "[a](https://example.org/x)": "[a](https://example.org/x)",
    "`[a](../Makefile)`": "`[a](../Makefile)`",
    "```text\n[a](../Makefile)\n```": "```text\n[a](../Makefile)\n```",
}


@pytest.mark.parametrize("text", LINKS)
def test_links_to_files_of_the_repository(hooks: ModuleType, text: str) -> None:
    assert hooks.relinked(text, "docs/state.md", "") == LINKS[text]


def test_links_from_pages_of_elsewhere_and_to_where_the_code_is_shown(hooks: ModuleType) -> None:
    text = "[a](docs/state.md#in-c), [b](Makefile)"
    shown = "[a](state.md#in-c), [b](https://example.org/r/blob/main/Makefile)"
    assert hooks.relinked(text, "README.md", "https://example.org/r/") == shown


def test_the_tools_are_pinned() -> None:
    extras = tomllib.loads(page("pyproject.toml"))["project"]["optional-dependencies"]
    assert "aotbuild[docs]" in extras["test"]
    assert [tool for tool in extras["docs"] if "==" not in tool] == []
