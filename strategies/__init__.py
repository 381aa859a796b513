"""First floor: which units to annotate next. One strategy a file."""
