"""Stands for flash-linear-attention on machines without a GPU: documented signatures, plain loops."""
