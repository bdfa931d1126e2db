"""The run directory: the one contract between trainer and dashboard. Standard library only."""
