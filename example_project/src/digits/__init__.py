"""Handwritten digits: a classifier and a denoiser, compiled into `digits.models`.

Importing this package loads neither torch nor a model; `from digits.models import net` does.
"""

__version__ = "0.1.0"
