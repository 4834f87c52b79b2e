"""Step compile: a program becomes a shared library for one target.

- ``step``: a library, its weights and its build record
- ``job``: what is compiled, or only lowered, and for what

From a program to code:

- ``lowering``: a program, rewritten by the passes and handed to Inductor
- ``program_weights``: its weights, and what may become of them
- ``attempts``: other example sizes, where code is for fewer sizes than declared
- ``stepping_aside``: without kernels of ours, where a torch fails with them
- ``inductor``: running Inductor
- ``inductor_options``, ``inductor_patches``: its options, and what is patched in it
- ``vector_isa``: the vector instructions that it may use
- ``own_results``: results that it would make one, kept apart
- ``parallel_loops``, ``indexed_sums``, ``kept_memory``, ``kernel_errors``: what is changed in its
  code: loops on several threads, sums of what goes to one place, memory between calls, errors

From code to a library:

- ``cxx``: the script in place of the C++ compiler
- ``shared_code``, ``shared_headers``: what the compiles of all models have in common
- ``small_headers``: headers without C++'s streams
- ``standalone``: linking without torch
- ``vector_functions``: vector functions of its own, in a library that runs with torch
- ``library_cache``: libraries of the same code

What a library is:

- ``constants``: its constants, which are weights or computed from them
- ``only_torch``: what its model calls that only torch has, and from where
- ``torch_interface``, ``symbols``: what torch promises to keep, and what the library needs
- ``instructions``, ``opening``: whether it runs on its CPU level, and opens without torch

The cache, asked before the step runs and without torch:

- ``key``: what a variant depends on
- ``variant_cache``: what is found there and left there
"""
