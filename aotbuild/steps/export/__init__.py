"""Step export: source, weights and inputs become programs, once per device."""
