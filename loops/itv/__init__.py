"""From phases to an internal target volume: one run, part by part."""
