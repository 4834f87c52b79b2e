"""The build side: the plan, and the steps that CMake runs from it, each in a process of its own.

``plan`` turns a declaration into one specification file for each step. Each step reads its own, and
writes files. They know nothing of CMake.

- ``plan``: which steps there are, from what, in which order
- ``engine``: step engine
- ``export``: step export
- ``tune``: steps tune and levels
- ``compile``: step compile
- ``verify``: step verify
- ``bundle``: step bundle
- ``choose``: what runs a model, found out before there is a plan

What steps have in common:

- ``artifacts``: the files between them
- ``sizes``: sizes and ranges of dimensions
- ``package``: writing an import package
- ``reports``: what is told of one, in wheels, beside them and by ``aotbuild inspect``
- ``torch_parts``: everything private of torch that they use
- ``project_code``: importing the project's own code
- ``files``, ``sources``: writing files, and aotbuild's own sources
- ``dtypes``: names of dtypes
- ``made``: the size of what a step has made, for who watches the build
- ``identity``: what makes the results of a build its own
- ``c_compiler``, ``older_glibc``: compiling C, and linking for older systems

Running them:

- ``run``: one step in this process
- ``forkserver``: steps as forks of a process that has imported torch
"""
