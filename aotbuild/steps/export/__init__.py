"""Step export: source, weights and inputs become programs, once per device.

- ``step``: the files that the step writes
- ``trace``: a model, with all that other steps need of it; what comes of it is in ``traced``

The module and its weights:

- ``source``: the module that a source names, with its weights
- ``state_dict``: loading a state dict, and why it does not fit
- ``tensor_files``, ``checkpoint_parts``: files of tensors, and the state dicts in a checkpoint
- ``module_state``: parameters and buffers by their names
- ``finite_weights``, ``untrained``: weights that are no numbers, or that nobody trained
- ``quantize``: quantised weights
- ``saved_program``: a program of ``torch.export.save`` in place of a module

What a method is traced with:

- ``method``: its declaration, its example and its dynamic dimensions
- ``example``: the example call
- ``arguments``: arguments, bound to parameters, and flat for the library
- ``shapes_spec``: dynamic shapes in torch's own notation
- ``flat_module``: the method as torch.export is given it

State, which a model keeps between calls:

- ``lifted_state``: which buffers it is, their shapes, and the methods that take them
- ``state_buffers``: seeing which buffers a call changes, and putting others in their places
- ``mutation``: what a program changes, and may not

Tracing, and what stands in its way:

- ``torch_export``: the call of torch.export, and what is tried where that fails
- ``symbolic_sizes``: operators of torch that take plain numbers only
- ``guards``, ``traced_lines``: the lines of the model that guards and operators come from
- ``diagnosis``: which dimension is narrower than it was declared, and why
- ``partial_ranges``, ``proposals``: ranges to declare in place of others, and tries of them
- ``plain_numbers``: what to write in place of a call that makes a plain number of a size
- ``tracing_errors``: errors of torch.export in terms of the declaration

What a program is verified with, and tells its users:

- ``small_sizes``: the sizes 0 and 1
- ``wide_cases``, ``input_uses``: values all over what is declared, and which may be tried
- ``outputs``: how its outputs nest
- ``docstrings``: what its author wrote of it
"""
