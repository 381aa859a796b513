"""Overlap, surface distance (mm) and budget curves."""
