"""``inspect``: what is in a wheel, an installed package or a library, without running any of it.

- ``command``: finds what is named, and prints
- ``text``: what ``aotbuild/steps/reports`` finds in it, as tables for people
- ``differences``: what differs between two reports

Weights are never read: a wheel of a gigabyte takes as long as a small one.
"""
