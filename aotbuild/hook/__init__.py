"""The hook side: runs inside PEP 517 hooks, reads the declaration, returns settings.

It never imports torch: a hook runs in milliseconds, several times in each build.

What others call:

- ``settings``: what scikit-build-core is told
- ``requirement``: the torch that a wheel requires
- ``setuptools_builds``: builds by setuptools, which know nothing of models

What they need:

- ``build_settings``: the settings that hold for a build, whatever gave them
- ``runtimes``: what runs the models of a wheel
- ``cross``: building for another architecture
- ``progress``: lines that show what a build does while it runs

Checks of the project around the declaration:

- ``build_system``: whether a build calls aotbuild at all
- ``check_project``: ``[project]``, and the names of tables
- ``check_wheel``, ``check_package``: whether the wheel has the models, and in its own package
"""
