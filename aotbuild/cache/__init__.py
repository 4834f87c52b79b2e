"""The cache: what builds have made, kept for other builds under a digest of what it was made from.

Nothing here imports torch, or knows what an entry is of.
"""
