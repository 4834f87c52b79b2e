"""Rewrites of traced graphs, and the operators and kernels that they put in; see ``pipeline``."""
