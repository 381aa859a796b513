"""Prompts in numpy: text templates, simulated boxes and clicks, their scores and their cost."""
