"""Reading the declaration: ``[tool.aotbuild]`` of a project's pyproject.toml.

What can be written:

- ``schema``: one dataclass for each table
- ``values``, ``rules``: kinds of values, and the rules that they are made of
- ``sizes``: sizes in shapes, such as ``2*seq+1``
- ``inputs``: declared inputs as trees

From TOML to a project:

- ``project``: the pyproject.toml around the declaration, and what the rest of aotbuild gets of it
- ``parse``: a TOML table becomes dataclasses, strictly
- ``keys``: the keys of a table, by its dataclass
- ``misplaced``: keys in the wrong table
- ``resolve``: defaults, profiles and methods, taken together

What has to fit together:

- ``check``: the whole declaration
- ``check_call``, ``check_dims``, ``check_state``: inputs, dynamic dimensions, and what is kept
- ``check_files``, ``check_settings``: files that are named, and settings
- ``check_runtime``: what only torch can do, in a model without it

What follows from it:

- ``wheel_packages``: the packages of the wheel, and that of the models
- ``companion``: where the weights are
- ``runtimes``: what runs the models, as far as the declaration tells
- ``develop``: what ``aotbuild develop`` installs, in place of what is declared

``messages`` has words of the errors. ``json_schema`` and ``reference`` show the same to editors and
to readers; ``generate`` writes both. Nothing here imports torch.
"""
