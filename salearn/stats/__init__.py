"""Intervals and tests that respect who was measured how often."""
