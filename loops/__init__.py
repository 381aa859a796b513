"""Top floor: when what happens."""
