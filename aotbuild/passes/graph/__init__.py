"""Looking at graphs, for all passes.

- ``nodes``: nodes, and adding others
- ``sizes``: sizes, which may be dynamic or follow from data
- ``constants``: which nodes are constants
- ``aliases``: which may share memory, and which memory is written again
- ``values``: what is known of values, whatever the inputs are

What passes have in common that changes a graph:

- ``derived``: constants that are computed from others, once when the model is built
- ``slices``: slices in place of the parts of constants
- ``assertions``: assertions that hold, which a pass drops when it is done
"""
