"""An Inductor that is wrong for negative numbers only."""

import torch
from torch._inductor.lowering import lowerings

lowerings[torch.ops.aten.relu.default] = lowerings[torch.ops.aten.abs.default]
