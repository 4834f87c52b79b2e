"""``inspect``: what is in a wheel, an installed package or a library, without running any of it.

- ``command``: finds what is named, and prints
- ``contents``: the files of a wheel, of a directory or of an installed distribution
- ``report``: what is told of them, as data; ``--json`` prints it
- ``text``: the same as tables for people
- ``differences``: what differs between two reports

Weights are never read: a wheel of a gigabyte takes as long as a small one.
"""
