"""Step bundle: the import package of all models."""
