"""What computes: models, data, training loop, reduction, worker and command line."""
