"""Is cutting worth it: a few short runs at N, N/4 and N/16 states, and what follows from them."""
