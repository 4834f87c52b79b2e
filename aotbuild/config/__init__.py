"""Reading the declaration: ``[tool.aotbuild]`` of a project's pyproject.toml.

``schema`` says what can be written, ``parse`` turns a TOML table into it strictly,
``project`` finds and reads the pyproject.toml around it. Nothing here imports torch.
"""
