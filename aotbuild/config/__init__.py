"""Reading the declaration: ``[tool.aotbuild]`` of a project's pyproject.toml.

``schema`` says what can be written, ``values`` and ``rules`` what a single value must be. ``parse``
turns a TOML table into the dataclasses strictly, ``check`` looks at what has to fit together,
``resolve`` takes defaults, profiles and methods together, and ``project`` finds and reads the
pyproject.toml around it all. ``json_schema`` and ``reference`` show the same to editors and to
readers. Nothing here imports torch.
"""
