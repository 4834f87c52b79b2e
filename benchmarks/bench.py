"""All benchmarks, or some: ``python benchmarks/bench.py --suite latency --model minilm``.

Prints the tables, and writes build/bench/<suite>.json, report.md and plots.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import time
from pathlib import Path

import machine
import report
from suites import SUITES, Request, suite


def main() -> None:
    """Run the suites."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n".join(f"{name}: {about}" for name, about in SUITES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--suite", action="append", choices=SUITES, help="all when left out")
    parser.add_argument("--model", default="", help="a model, or the start of its name")
    parser.add_argument("--rounds", type=int, default=0, help="how often the arms take turns")
    parser.add_argument("--together", action="store_true", help="latency: all arms in one process")
    parser.add_argument("--json", type=Path, help="write all that was measured to this file too")
    options = parser.parse_args()
    partial = bool(options.model or options.rounds or options.together)
    written = []
    for name in options.suite or SUITES:
        about = machine.describe()
        print(f"--- {name}: {SUITES[name]}\n{report.machine_line(about)}", flush=True)
        start = time.perf_counter()
        tables = suite(name)(Request(options.model, options.rounds, options.together, about))
        today = dt.datetime.now(tz=dt.UTC).date().isoformat()
        # A part is no report: it lies beside that of the whole suite.
        saved = f"{name}-part" if partial else name
        written.append(report.save(saved, SUITES[name], about, today, tables))
        print(f"\n{report.markdown(tables)}\n{name}: {time.perf_counter() - start:.0f} s\n")
    if options.json:
        found = [json.loads(path.read_text()) for path in written]
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if not partial:
        report.write()


if __name__ == "__main__":
    main()
