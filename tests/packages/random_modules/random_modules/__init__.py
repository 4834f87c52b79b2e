"""Modules that are described by data; see modules.py."""
