"""The Python that builds: whether it has the GIL, and how an extension module for it is named."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES

FREE_THREADED = "t" in getattr(sys, "abiflags", "")
"""Whether it runs without the GIL. Such a Python has no stable ABI with those that have it."""

ENGINE = f"_engine{EXTENSION_SUFFIXES[0] if FREE_THREADED else '.abi3.so'}"
"""The file of the engine, the extension module that a package carries: for all Pythons from the
oldest one on, or for this one without the GIL."""
