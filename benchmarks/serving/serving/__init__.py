"""Models for many small requests at once."""
