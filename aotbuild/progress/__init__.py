"""What is seen of a build while it runs: what its processes tell, and how that is shown.

Ninja keeps what a step prints until it ends. What is to be seen at once goes another way: through a
named pipe, which the hook has made, or a command, and whose path is in ``AOTBUILD_PROGRESS``.
Nothing of it is in a wheel.

- ``events``: what is told, and telling it
- ``channel``: the pipe, and who listens
- ``board``: what runs, since when, and how long the rest takes
- ``durations``: how long each step took when it last ran
- ``lines``: all of it as lines of a log
- ``words``: times and sizes in words
"""
