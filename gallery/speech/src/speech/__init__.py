"""Whether somebody speaks, while the sound comes in."""
