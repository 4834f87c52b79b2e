"""What the command line ``python -m aotbuild`` does, one module for each command."""
