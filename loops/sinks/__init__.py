"""Where a run is shown while it goes on. The run folder is the truth; a sink never stops a run."""
