"""What every rank of a layer means and how it is cut, in NumPy."""
