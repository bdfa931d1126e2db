"""States, events and numbers for people."""
