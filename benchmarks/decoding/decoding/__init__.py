"""Decoders that write one token after another."""
