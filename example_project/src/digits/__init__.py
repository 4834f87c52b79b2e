"""Handwritten digits: a classifier, a denoiser and a reader, compiled into `digits.models`.

Importing this package loads neither torch nor a model; `from digits.models import net` does.
"""

__version__ = "0.1.0"
