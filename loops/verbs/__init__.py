"""One verb, or a few that belong together, a file; each file registers its own by `add`."""
