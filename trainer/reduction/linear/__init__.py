"""Linear time-invariant systems: Gramians, Hankel singular values, balanced truncation."""
