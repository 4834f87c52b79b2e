"""Fourier transforms: the one that only torch's own runner calls, written as one that all call."""
