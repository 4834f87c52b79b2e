"""Complex numbers: operators on them that Inductor leaves to torch's own runner, in real parts."""
