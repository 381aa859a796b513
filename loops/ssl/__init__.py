"""Semi-supervised hosts, one a file; each is its few lines of loss."""
