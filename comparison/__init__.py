"""Runs side by side: what the page Compare and `hankelboard compare` share, so that they say the same.

Reads storage, knows neither the dashboard nor the trainer.
"""
