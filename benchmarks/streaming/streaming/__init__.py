"""Small models that read a stream."""
