"""The build side: the plan, and the steps that CMake runs from it, each in a process of its own.

``plan`` turns a declaration into one specification file for each step. ``export``, ``compile``,
``verify`` and ``bundle`` each read one such file, and write files. They know nothing of CMake.
"""
