"""The files that pass between steps: one module each, with its name, reader and writer."""
