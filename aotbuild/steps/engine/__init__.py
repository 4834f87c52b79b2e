"""Step engine: the extension module that checks and runs models on the CPU."""
