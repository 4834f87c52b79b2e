"""Sizes and ranges of dimensions in a traced program.

- ``shapes``: declared dimensions, given to torch.export and read back from its program
- ``symbols``: torch's symbols in terms of them
- ``conditions``: conditions between sizes, as Python

While a program is traced:

- ``proofs``: what holds for all sizes of a range
- ``suppositions``: that sizes which a model derives are not 1, and where that is not so

While it is lowered:

- ``hints``: the sizes that it is lowered for
- ``ranges``: the sizes that the code is right for
- ``narrowing``: messages where these are fewer than declared
"""
