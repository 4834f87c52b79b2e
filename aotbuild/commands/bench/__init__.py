"""``bench``: how long the models of a wheel or a package take here, each in a process of its own.

- ``command``: what is measured, and printing it
- ``report``: the figures as data, and what is slower than in another report
- ``plot``: the times as a picture
- ``worker``: one model at some sizes, measured in a process that has nothing but the package
- ``others``: the same by another runtime, in a process that has torch
- ``arms``: the other runtimes
"""

RUNTIMES = ("eager", "torch.compile", "onnxruntime")
"""The other runtimes, by the names that users give."""
