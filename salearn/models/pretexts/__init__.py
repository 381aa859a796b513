"""Ways to train SAM3's vision trunk on images without masks ("pretexts")."""
