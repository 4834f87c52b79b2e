"""Rewrites of traced graphs, and the operators and kernels that they put in.

``pipeline`` lists the passes in their order and applies them. Each folder is one family:

- ``linear``: products with constant weights (``rewrite``; kernel ``gemm.h``), the same in bfloat16
  (``bfloat16_rewrite``; ``gemm_bfloat16.h``), and bfloat16 by oneDNN (``bfloat16_onednn``).
- ``convolution``: convolutions with constant weights (``rewrite``; ``convolution.h``), batch norms
  folded into the weights before them (``fold_batch_norm``), zeros around an image folded into the
  padding (``fold_padding``), and Winograd's method for kernels of 3 x 3 (``winograd``;
  ``winograd.h``).
- ``attention``: scaled dot products (``rewrite``; ``attention.h``), masks that mask nothing
  (``constant_masks``), and attention as products and a softmax, for a recipe (``expand``).
- ``recurrent``: LSTM, GRU and RNN (``rewrite``; ``recurrent.h``), and the way they are traced for
  any number of steps (``dynamic_steps``).
- ``numerics``: what Inductor computes wrongly: formulas for generated code
  (``overrides``; ``elementary.h``), integers (``integers``), and rewrites of the graph
  (``rewrite``, ``indices``, ``bounds``).
- ``complex_numbers``: operators on complex tensors, which Inductor takes apart into real ones
  (``table``; ``arithmetic``, ``transforms``), and what they are views of (``rewrite``).
- ``graph``: what passes ask about a graph: nodes, constants, aliases, known values; constants that
  are computed from others (``derived``); and two rewrites that passes begin or end with
  (``slices``, ``assertions``).
- ``template``: how an operator of ours becomes a C++ function within Inductor.
- ``simd``: what the kernels share: vectors, panels of packed weights, exponential functions.

In a family, ``rewrite`` puts in an operator that ``operator`` defines, and ``lowering``, found by
its name beside it, tells Inductor how to compile it: it writes a call of a function of the family's
header. To add a kernel for a new operator, add a folder with these four files, and its pass to
``pipeline.PASSES``; read ``linear`` first.
"""
