"""The times of a report as a picture in SVG, of one file, for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby

from aotbuild.commands.bench.report import BenchReport, Case
from aotbuild.steps.reports.describing import duration

_WIDTH, _LABEL, _TIME = 720, 200, 150
_ROW, _GAP = 22, 34

_STYLE = """
svg { font: 13px system-ui, sans-serif; background: #fff }
text { fill: #1b1f24 } .head { font-weight: 600 } .note { fill: #6a737d }
.own { fill: #00796b } .other { fill: #9aa4ad }
@media (prefers-color-scheme: dark) {
  svg { background: #14181d } text { fill: #e6e9ec } .note { fill: #98a2ac }
  .own { fill: #4db6ac } .other { fill: #67717b }
}
"""


def plot(report: BenchReport) -> str:
    """Bars as long as the medians, for each model and its sizes by themselves."""
    lines: list[str] = []
    y = 24
    lines += [_text(16, y, f"{report.where}: median time of a call", "head")]
    threads = report.threads or report.cores
    y += 20
    lines += [_text(16, y, f"{report.cpu}, {threads} thread{'s' * (threads > 1)}", "note")]
    for (model, sizes), cases in groupby(report.cases, lambda case: case.place):
        y += _GAP
        lines += [_text(16, y, f"{model}, {sizes}" if sizes else model, "head")]
        of_place = list(cases)
        longest = max(case.median for case in of_place)
        for case in of_place:
            y += _ROW
            lines += _bar(case, y, longest)
    height = y + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="times of calls">\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(lines) + "\n</svg>\n"
    )


def _bar(case: Case, y: int, longest: float) -> Iterator[str]:
    space = _WIDTH - _LABEL - _TIME
    width = max(1.0, case.median / longest * space)
    kind = "own" if case.error is None else "other"
    yield _text(16, y, case.target)
    yield f'<rect class="{kind}" x="{_LABEL}" y="{y - 11}" width="{width:.1f}" height="14"/>'
    yield _text(_LABEL + width + 6, y, duration(case.median))


def _text(x: float, y: int, text: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y}"{attribute}>{escape(text)}</text>'
