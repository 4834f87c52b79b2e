"""The start of a C program to its first result, beside a program that does nothing.

Both are compiled here and run in turns; the program calls `net` of an installed stand-alone wheel
of `example_project` once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

FIRST = """
#include <digits/net.h>

int main(void) {
  static float image[64];
  digits_net *net;
  digits_net_inputs inputs = {image, 1};
  digits_net_outputs outputs;
  if (digits_net_open(&net, 1, 0) || digits_net_run(net, &inputs, &outputs)) return 1;
  digits_net_free(&outputs);
  digits_net_close(net);
  return 0;
}
"""
EMPTY = "int main(void) { return 0; }\n"


def main() -> None:
    """Compile both programs, run them in turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "library", type=Path, help="what `python -m digits.models --library-dir` prints"
    )
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    library = arguments.library.resolve()
    with tempfile.TemporaryDirectory() as name:
        linking = [f"-L{library}", "-ldigits", f"-Wl,-rpath,{library}"]
        first = compiled(Path(name) / "first", FIRST, f"-I{library}/include", *linking)
        empty = compiled(Path(name) / "empty", EMPTY)
        spent: dict[Path, list[tuple[float, float]]] = {first: [], empty: []}
        for program in (first, empty) * (arguments.repeats + 3):
            spent[program].append(milliseconds(program))
    print("median of ms               all    of the CPU")
    rows = {"to the first result": first, "an empty program": empty}
    medians = {}
    for row, program in rows.items():
        medians[row] = [
            statistics.median(column) for column in zip(*spent[program][3:], strict=True)
        ]
        print(f"{row:<22}{medians[row][0]:8.2f}{medians[row][1]:14.2f}")
    (one, cpu), (other, other_cpu) = medians.values()
    print(f"{'difference':<22}{one - other:8.2f}{cpu - other_cpu:14.2f}")


def compiled(program: Path, source: str, *options: str) -> Path:
    """A program made of C."""
    program.with_suffix(".c").write_text(source)
    command = ["gcc", "-O2", str(program.with_suffix(".c")), *options, "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def milliseconds(program: Path) -> tuple[float, float]:
    """How long a program takes from its start to its end, and how much of that the CPU."""
    start = time.perf_counter()
    child = os.posix_spawn(program, [str(program)], os.environ)
    _, status, used = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"{program.name} ended with {status}")
    return (time.perf_counter() - start) * 1e3, (used.ru_utime + used.ru_stime) * 1e3


if __name__ == "__main__":
    main()
