"""Well-known architectures with random weights, to measure the speed of runtimes with."""
