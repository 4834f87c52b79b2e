"""``aotbuild develop``: the models of a project importable at once, from its directory.

- ``command``: what is done, and what is told of it
- ``environment``: the installer of this environment, and what it has of the project
- ``background``: compiling while the eager models are in use
"""
