"""How an operator of ours becomes C++ within Inductor."""
