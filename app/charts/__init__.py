"""Chart specifications and the tables they draw."""
