"""Many cells: what a study names, what its ledger remembers, who runs it."""
