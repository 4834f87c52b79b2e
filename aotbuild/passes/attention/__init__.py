"""Attention: scaled dot products, their masks, and a kernel with an online softmax."""
