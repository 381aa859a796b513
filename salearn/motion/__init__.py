"""4-D: runs of phases, connected components, tracks, filters, internal target volumes, motion."""
