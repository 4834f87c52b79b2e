"""Step verify: a compiled library through the real runtime, compared with eager.

- ``step``: a package of one method, run and compared
- ``emulated``: the same in an emulator, for another architecture
- ``selftest``: the call that the package carries

Cases and comparisons:

- ``cases``: the calls that are compared
- ``compare``: results, value by value
- ``accuracy``: the tolerances, and the project's own checks
- ``wide``: values all over what is declared, where rounding may matter much
- ``locate``: the operator that is computed wrongly
"""
