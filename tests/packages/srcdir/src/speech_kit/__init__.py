"""A package that offers its compiled model at the top."""

from .models import net

__all__ = ["net"]
