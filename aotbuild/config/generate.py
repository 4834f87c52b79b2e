"""Write what is made of the dataclasses of ``schema``: ``make generate``.

Run it in the root of the repository. test_generated.py notices when it is due.
"""

from __future__ import annotations

from pathlib import Path

from aotbuild.config import json_schema, reference

COMMAND = "make generate"


def generated() -> dict[str, str]:
    """The texts of all generated files, by their path in the repository."""
    return {
        f"aotbuild/config/{json_schema.FILE_NAME}": json_schema.schema_text(),
        "docs/reference.md": reference.reference_text(),
    }


def main() -> None:
    """Write the files."""
    root = Path.cwd()
    if not (root / "aotbuild" / "config" / "schema.py").is_file():
        raise SystemExit(f"run {COMMAND} in the root of aotbuild's repository")
    for name, text in generated().items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {name}")  # noqa: T201


if __name__ == "__main__":
    main()
