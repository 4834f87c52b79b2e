"""Step compile: a program becomes a shared library for one target."""
