"""Convolutions: what is folded into them, and kernels with packed weights."""
