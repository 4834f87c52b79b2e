"""Step verify: a compiled library through the real runtime, compared with eager."""
