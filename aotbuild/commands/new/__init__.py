"""``aotbuild new``: a project that is complete, to begin with.

- ``command``: writing it, and declaring its model as ``init`` does
- ``template``: its files; where they say ``NAME`` and ``PACKAGE``, they get the project's
"""
