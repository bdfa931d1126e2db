"""One family each: from a layer's parameters to a reduction and back."""
