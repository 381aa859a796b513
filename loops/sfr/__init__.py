"""SFR's rounds in parts: what is given, how it is rated, gated, weighed and believed."""
