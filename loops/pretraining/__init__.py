"""Making the small SAM3: recipe, data, run."""
