"""Whether a library has only instructions of its CPU level.

One flag of the compiler, or a CPU feature that Inductor found on the build machine, is enough to
end the process on another machine: the machine code itself is what counts.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection
from pathlib import Path

from aotbuild.errors import CompileError
from aotbuild.target import Target
from aotbuild.toolchain import find_disassembler

_SYSTEM = r"err|erw|m(?:call|clear|func|launch|load|mcall|ptr\w+|read|resume|run|save|write|xo\w+)"
_AVX = rf"v(?!(?:{_SYSTEM})\b)\w+"
_BMI = r"andn|bextr|bls(?:i|r|msk)|bzhi|lzcnt|mulx|pdep|pext|rorx|s(?:ar|hl|hr)x"
_AVX512 = r"%zmm\d|%[xy]mm(?:1[6-9]|2\d|3[01])\b|%k[0-7]\b"
_LATER = (
    r"%tmm\d|\bv(?:pdp\w+|dpbf16ps|cvtne2?ps2bf16|vp2intersect\w+|popcnt[bw]|pmadd52\w+|"
    r"p(?:compress|expand)[bw]|psh[lr]d\w*|pshufbitqmb)\b|\bv(?!cvtps2ph\b)\w+(?:ph|sh)\b"
)
"""Of AVX-512 and AMX, what no CPU level has."""

_FOREIGN = {
    "x86-64-v2": rf"\t(?:{_AVX}|(?:{_BMI})[lq]?)\b|%ymm\d|{_AVX512}|{_LATER}",
    "x86-64-v3": f"{_AVX512}|{_LATER}",
    "x86-64-v4": _LATER,
}


def check_instructions(
    library: Path, target: Target, where: str, guarded: Collection[str] = ()
) -> bool:
    """Check the machine code of a library.

    Args:
        library: The library.
        target: What it was compiled for.
        where: Where the model is declared.
        guarded: Instructions that the code only reaches on a CPU that has them.

    Returns:
        Whether it was checked: for some levels, and without binutils, it cannot be.

    Raises:
        CompileError: It has instructions of a higher level.
    """
    disassembler = find_disassembler()
    if target.level not in _FOREIGN or disassembler is None:
        return False
    listing = subprocess.run(
        [disassembler, "--disassemble", "--no-show-raw-insn", library],
        capture_output=True,
        text=True,
        check=False,
    )
    foreign = foreign_instruction(listing.stdout, target.level, guarded)
    if listing.returncode or foreign:
        raise CompileError(
            f"the library for {target.name} has instructions that this level lacks",
            where=where,
            why=foreign or listing.stderr.strip() or "it cannot be disassembled",
            fix="remove options that add instructions (such as -march in CXX), or report it to the "
            "aotbuild project",
        )
    return True


def foreign_instruction(code: str, level: str, guarded: Collection[str] = ()) -> str:
    """The first instruction above a level in disassembled code; or nothing.

    Args:
        code: The listing, in AT&T syntax.
        level: The CPU level.
        guarded: Instructions that may be there.
    """
    pattern = re.compile(_FOREIGN[level])
    for line in code.splitlines():
        # An address, a tab, the instruction, and after "#" what a disassembler adds.
        if ":\t" not in line or not pattern.search(line.partition("#")[0]):
            continue
        words = line.split(":", 1)[1].split()
        if words[0] not in guarded:
            return " ".join(words)
    return ""
