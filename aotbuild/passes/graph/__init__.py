"""Looking at graphs: nodes, constants, aliases, values; and constants derived from others."""
