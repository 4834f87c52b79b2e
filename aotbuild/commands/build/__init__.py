"""``build``: the wheel of a project, with what is going on.

- ``command``: builds it
- ``frontend``: the program that does
"""
