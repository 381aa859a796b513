"""Ways to adapt SAM3 ("arms"): what of it is trained, and how that is stored."""
