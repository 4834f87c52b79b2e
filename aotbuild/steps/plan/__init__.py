"""The plan: which steps make a package, from what, in which order."""
