"""Sequence layers, one file per family, and the network around them."""
