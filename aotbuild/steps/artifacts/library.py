"""A compiled library and what belongs to it, beside the build record.

The step compile writes these files, the cache keeps them, and the package copies them.
"""

from __future__ import annotations

from aotbuild.steps.artifacts.weights_index import WEIGHTS

LIBRARY = "library.so"

PROXY_NODES = "library.json"
"""Calls without a C shim, which the runner looks for under the library's name; mostly missing."""

COMPUTED_WEIGHTS = WEIGHTS
"""What was computed from the weights of the export and cannot be computed again."""
