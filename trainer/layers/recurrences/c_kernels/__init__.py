"""Our recurrences in C, for CPUs: compiled on the machine that runs them, where it has a compiler.

    selective.c      Mamba-1                          delta_rule.c     gated DeltaNet
    matrix_states.c  attention, Mamba-2, GLA          complex_scan.c   LRU, S5

Single precision only; what is double goes to the code in PyTorch. They are kernels like those of other
packages (installed_kernels.py): used where they agree with ours, recorded, and never required.
"""
