"""The layer of each family for exported models: one file each, which needs torch only.

Every file has the function `step(layer, input, *states)`, the equation as it stands. `layer` holds the
tensors under the names they have in the checkpoint; what it returns are the output and the next states. None
are given at the beginning.
"""
