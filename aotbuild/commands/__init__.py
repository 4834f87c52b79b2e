"""What the command line does; its words are in ``aotbuild/__main__.py``.

- ``new``: writes a project
- ``init``: declares a model of a project, whatever builds that so far
- ``check``: traces the models of a project; with ``check_packaging``, ``check_runtime`` and
  ``check_torch``
- ``plan``: which steps a build would run, and why; ``explain`` tells of the cache, also to
  ``check``, and ``tracing`` traces the models for both
- ``develop``: the models of a project in this environment, compiled or not
- ``build``: builds the wheel of a project; ``running`` runs the program that does, ``said`` takes
  what of its output is for the user, and ``live`` shows the steps: also for ``develop``, and the
  latter for ``tune``
- ``doctor``: whether this machine can build models
- ``tune``: measures recipes, and pins the best
- ``inspect``: what is in a wheel
- ``bench``: how long its models take here
- ``repair``: platform tags; ``newest_symbols`` tells what keeps a wheel from older systems
- ``cache``: what is in the cache of this machine
- ``tables``: what all of them print by
"""
