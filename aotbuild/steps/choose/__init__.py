"""What runs a model that leaves that to the build: known before anything is compiled."""
