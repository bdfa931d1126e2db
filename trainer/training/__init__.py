"""Our own training loop: one client of compression."""
