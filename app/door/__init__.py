"""The door of the dashboard: who is let in, by which address, and what is sent along."""
