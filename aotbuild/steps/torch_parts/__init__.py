"""Everything private of torch that aotbuild touches, with what happens where it is not there.

``exporting``, ``compiling``, ``kernels`` and ``running`` are the tables: a ``Use`` is something
that aotbuild does inside torch, and each ``Part`` of it a name, an option or a text that it needs.
``moved`` looks for them in the torch of a build. A test finds private names in aotbuild's code
that no table has (``tests/unit/steps/test_torch_parts.py``).
"""
