"""Where cells run: every backend runs the same attempt (studies/attempt.py), with the same keys."""
