"""Ship compiled PyTorch models inside Python wheels."""
