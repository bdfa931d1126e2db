"""What changed on disk, and who is notified."""
