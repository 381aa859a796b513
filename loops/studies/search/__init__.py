"""A search for inner settings: what is searched, on which cases, one trial, all trials."""
