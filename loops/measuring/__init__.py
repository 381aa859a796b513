"""What is measured and drawn after a round."""
