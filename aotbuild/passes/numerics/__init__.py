"""Functions and reductions of Inductor that are inexact, made exact."""
