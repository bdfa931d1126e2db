"""Stands for mamba-ssm on machines without a GPU: documented signature and layout, plain loops."""
