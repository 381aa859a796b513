"""Where cells run. Every backend runs the same attempt (loops/attempt.py) with the same keys."""
