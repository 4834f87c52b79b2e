"""Modules that compute sizes by floating-point arithmetic."""
