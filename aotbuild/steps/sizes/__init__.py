"""Sizes and ranges of dimensions in a traced program."""
