"""Rounds that people annotate: the worklist, what comes back, and the log of both."""
