"""Steps tune and levels: recipes and CPU levels, chosen by measurement."""
