"""The streaming form of each family: one file each, which imports torch only.

A file has the function `step(layer, input, *states)`, the equations of one step as they stand. `layer` has
the parameters under the names that they have in a checkpoint: it is the layer that is trained, or what an
exported model's loader made of its weights, since the same file goes along with exported models as mixer.py.
Returned are the output and the next states; none are given at the beginning.
"""
