"""The engine, compiled: the extension module that a package carries in its runtime."""

ENGINE = "_engine.abi3.so"
"""Its name in the directory of the step engine, and in that of the runtime."""
