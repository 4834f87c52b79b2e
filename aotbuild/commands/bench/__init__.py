"""``bench``: how long the models of a wheel or a package take here, each in a process of its own.

- ``command``: what is measured, and printing it
- ``report``: the figures as data, and what is slower than in another report
- ``worker``: one model at some sizes, measured in a process that has nothing but the package
"""
