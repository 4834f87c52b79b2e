// Tensors whose channels are innermost: torch keeps that in the results of some operators.
#pragma once

#include "layout.h"

namespace aotbuild::standalone {

// Strides with the channels innermost; sizes are of the batch, the channels, and the rest.
Sizes channels_last(const Sizes& sizes);
// Whether torch takes a tensor, of any number of dimensions, for one with the channels innermost.
bool is_channels_last(const Tensor* tensor);

}  // namespace aotbuild::standalone
