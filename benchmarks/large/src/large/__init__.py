"""A package with a large model, to measure memory with."""
