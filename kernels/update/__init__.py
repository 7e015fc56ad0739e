"""Optimiser updates: a parameter and its state, one step further."""
