"""What Inductor compiles wrongly, put right: numbers, and errors that eager torch raises.

- ``overrides``: functions and reductions in vectors, while code is generated; their formulas are in
  ``elementary.h``
- ``integers``: integers, which wrap, keep their type, and overflow without undefined behaviour

Rewrites of the graph, whatever passes are wanted:

- ``rewrite``: operators that are decomposed wrongly: what becomes of NaN, quotients that are
  rounded down, sums of truth values, places in tensors that lie in another order
- ``indices``: negative indices, which eager torch refuses
- ``bounds``: slices up to a size that follows from data, which would not compile
"""
