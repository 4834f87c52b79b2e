"""What the site is besides the pages of ``docs``: pages of elsewhere, links to them, and diagrams.

A page of the repository links to files as they lie there, so that it can be read in the repository.
On the site some of these files are pages, and the others are only named, unless ``REPOSITORY_URL``
tells where they can be seen.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import mmdr
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[2]
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks-suites.md",
    "findings/README.md": "findings.md",
}
"""Pages outside of ``docs``, and what they are called on the site."""

_PARTS = re.compile(
    r"^```.*?^```$"  # a block
    r"|\[(?P<text>(?:`[^`]*`|[^]`])*)\]\((?P<target>[^)\s]+)\)"
    r"|`[^`\n]*`",
    re.DOTALL | re.MULTILINE,
)


def on_config(config: MkDocsConfig) -> None:
    """Draw diagrams when the site is built: a browser would have to fetch what draws them."""
    fence = {"name": "mermaid", "class": "diagram", "format": draw}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    config.mdx_configs["toc"] = {"permalink": True, "slugify": anchor}


def anchor(heading: str, separator: str) -> str:
    """The anchor of a heading, which is the same where the repository is shown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def draw(source: str, *_: Any, **__: Any) -> str:
    """A diagram of Mermaid as a picture inside the page."""
    picture = mmdr.render(source).svg()
    (width,) = re.findall(r'^<svg [^>]*viewBox="\S+ \S+ (\S+) \S+"', picture)
    return f'<div class="diagram" style="--width: {width}px">{picture}</div>'


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages of elsewhere."""
    for path, page in ELSEWHERE.items():
        text = (REPOSITORY / path).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where their targets are on the site."""
    del files
    own = page.file.src_uri
    path = {name: path for path, name in ELSEWHERE.items()}.get(own, f"docs/{own}")
    return relinked(markdown, path, config.repo_url or "")


def relinked(markdown: str, path: str, repository: str) -> str:
    """The text of a page of the repository with the links of the site.

    Args:
        markdown: The text.
        path: Where the page lies in the repository.
        repository: Where the other files can be seen; empty if nowhere.
    """

    def link(match: re.Match[str]) -> str:
        text, target = match["text"], match["target"]
        file, _, place = (target or "").partition("#")
        if not file or re.match(r"\w+:", target):
            return match[0]
        named = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
        if named in ELSEWHERE or (named.startswith("docs/") and named.endswith(".md")):
            shown = ELSEWHERE.get(named, named.removeprefix("docs/"))
            return f"[{text}]({shown}#{place})" if place else f"[{text}]({shown})"
        if not (REPOSITORY / named).exists():
            return match[0]  # which the build refuses
        return f"[{text}]({repository.rstrip('/')}/blob/main/{named})" if repository else text

    return _PARTS.sub(link, markdown)
