"""One script per claim of speed. `make bench` runs them all and writes README.md here."""
