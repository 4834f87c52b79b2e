"""Writing an import package of compiled models: its manifest, modules and weights.

- ``write``: the package; steps that run models before there is a wheel write one as well
- ``parts``: the methods that it is made of, and what the steps before wrote of them
- ``packaged_method``: a method in it: its files, and its manifest
- ``generate``: the text of its modules and stubs
- ``docstrings``: the runtime's modules without what only its authors read
- ``c_interface``: headers, a library and files for CMake

Weights:

- ``pool``: the one file of all weights
- ``folded``: parameters that no library takes
- ``companion_wheel``: weights that are not in the wheel

What is told of it:

- ``size``: how large it is, and what would make it smaller
- ``torch_range``: which versions of torch run it
- ``development``: of which files ``aotbuild develop`` made it
"""
