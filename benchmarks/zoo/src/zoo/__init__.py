"""Networks of many families, with random weights, that no pass was written for."""
