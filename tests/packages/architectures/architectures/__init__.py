"""Well-known architectures with small configurations, adapted for aotbuild."""
