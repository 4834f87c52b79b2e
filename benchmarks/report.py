"""Tables as Markdown, JSON and plots.

``python benchmarks/report.py`` writes build/bench/report.md and the plots out of the suites' JSON
files there; with ``--docs`` also docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import REPOSITORY, Row, judged
from suites import SUITES
from tables import Chart, Table

PLACE = REPOSITORY / "build" / "bench"
DOCS = REPOSITORY / "docs" / "benchmarks.md"


def save(suite: str, about: str, machine: dict[str, Any], date: str, tables: list[Table]) -> Path:
    """Write what a suite found."""
    PLACE.mkdir(parents=True, exist_ok=True)
    path = PLACE / f"{suite}.json"
    told = [{**asdict(table), "bounds": [asdict(row) for row in table.bounds]} for table in tables]
    found = {"suite": suite, "about": about, "date": date, "machine": machine, "tables": told}
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path


def load(path: Path) -> dict[str, Any]:
    """Read it, with tables as they were."""
    found: dict[str, Any] = json.loads(path.read_text())
    for i, told in enumerate(found["tables"]):
        told["bounds"] = [Row(**row) for row in told["bounds"]]
        told["charts"] = [Chart(**chart) for chart in told["charts"]]
        found["tables"][i] = Table(**told)
    return found


def markdown(tables: Sequence[Table]) -> str:
    """The tables of a suite."""
    parts = []
    for table in tables:
        parts.append(f"### {table.title}")
        if table.columns:
            parts.append(_grid(table.columns, _grouped(table.rows)))
        if table.bounds:
            columns = ["", "measured", "bound", "ratio", ""]
            parts.append(_grid(columns, [list(judged(row)) for row in table.bounds]))
        parts += table.notes
    return "\n\n".join(parts) + "\n"


def _grouped(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows whose first cell is told once."""
    found, before = [], None
    for first, *rest in rows:
        found.append(["" if first == before else first, *rest])
        before = first
    return found


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *("--:" for _ in columns[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine_line(machine: dict[str, Any]) -> str:
    """The machine in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}; "
        f"{machine['gemm']:.0f} GFLOP/s in f32 products and {machine['read']:.0f} GB/s of reads on "
        f"one thread; a load of {machine['load']} before; Python {machine['python']}, {versions}."
    )


HEAD = """# Benchmarks

Written by `make bench-docs` out of what `make bench` measured; [how to run and to read
them](../benchmarks/README.md). Medians with 95% intervals (order statistics); the arms take turns
in one run, each in a process of its own, on one thread unless said; every result was compared with
eager's before it was timed. The fastest arm is bold, whichever it is.
"""


def section(found: dict[str, Any]) -> str:
    """What one suite found."""
    head = f"{_title(found['suite'])}{found['about']}"
    when = f"{found['date']}, {machine_line(found['machine'])}"
    return "\n\n".join([head, when, markdown(found["tables"]).strip()])


def page(sections: Mapping[str, str]) -> str:
    """The page of all suites, in their order."""
    return (
        "\n\n".join([HEAD.strip(), *(sections[name] for name in SUITES if name in sections)]) + "\n"
    )


def sections_of(text: str) -> dict[str, str]:
    """The sections of a page, by suite."""
    titles = {_title(name): name for name in SUITES}
    parts = [f"## {part}".strip() for part in text.split("\n## ")[1:]]
    return {titles[key]: part for part in parts for key in titles if part.startswith(key)}


def _title(suite: str) -> str:
    return f"## {suite.replace('_', ' ').capitalize()}: "


def plot(suite: str, tables: Sequence[Table]) -> list[Path]:
    """Draw the charts of a suite, one picture for each table; nothing without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        return []
    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "aotbuild", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    paths = []
    for number, table in enumerate(tables):
        if not table.charts:
            continue
        columns = min(3, len(table.charts))
        lines = -(-len(table.charts) // columns)
        size = (4.2 * columns, 2.4 * lines)
        figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False)
        for ax in axes.flat[len(table.charts) :]:
            ax.set_visible(False)
        for ax, chart in zip(axes.flat, table.charts, strict=False):
            names = [bar[0] for bar in chart.bars]
            values = [bar[1] for bar in chart.bars]
            errors = [
                [value - bar[2] for value, bar in zip(values, chart.bars, strict=True)],
                [bar[3] - value for value, bar in zip(values, chart.bars, strict=True)],
            ]
            colors = ["#c44e52" if name.startswith("aotbuild") else "#8c9bb0" for name in names]
            ax.barh(names, values, xerr=errors, color=colors, ecolor="#333333", capsize=2)
            ax.invert_yaxis()
            ax.set_title(f"{chart.title} ({chart.unit})")
            ax.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        path = PLACE / (f"{suite}-{number}.svg" if number else f"{suite}.svg")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        paths.append(path)
    return paths


def write(*, docs_too: bool = False) -> None:
    """Write the report of all suites that were run, and their plots.

    In docs/benchmarks.md, those that were not keep what was measured before.
    """
    suites = [load(path) for name in SUITES if (path := PLACE / f"{name}.json").exists()]
    if not suites:
        raise SystemExit("nothing was measured yet: make bench")
    sections = {found["suite"]: section(found) for found in suites}
    texts = {PLACE / "report.md": page(sections)}
    if docs_too:
        texts[DOCS] = page({**sections_of(DOCS.read_text()), **sections})
    for path, text in texts.items():
        path.write_text(text)
        print(path.relative_to(REPOSITORY))
    for found in suites:
        for path in plot(found["suite"], found["tables"]):
            print(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md as well")
    write(docs_too=parser.parse_args().docs)
