"""Tidy tables, figures and summaries of finished runs."""
