"""What a compiled library needs of torch."""

from __future__ import annotations

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

_PREFIXES = ("aoti_torch_", "Sleef_")


def torch_symbols(library: Path) -> list[str]:
    """The undefined symbols of a shared library that torch has to provide, by name.

    Only ELF is read; of another format there are none.
    """
    with library.open("rb") as file:
        try:
            table = ELFFile(file).get_section_by_name(".dynsym")
        except ELFError:
            return []
        if not isinstance(table, SymbolTableSection):
            return []
        return sorted(
            {
                symbol.name
                for symbol in table.iter_symbols()
                if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name.startswith(_PREFIXES)
            }
        )
