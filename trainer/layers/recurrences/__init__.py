"""The recurrences of all families: a fast form of each, and beside it the equation as it stands.

diagonal.py      LRU, S5: a complex linear system     selective.py     Mamba-1
scalar_decay.py  linear attention, Mamba-2            channel_decay.py gated linear attention
delta_rule.py    gated DeltaNet
"""
