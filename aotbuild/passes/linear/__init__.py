"""Linear layers: products with packed weights, in float32 and in bfloat16."""
