"""Writing an import package of compiled models: its manifest, modules and weights."""
