"""What the parts cost, as ratios against public or plainly written implementations."""
