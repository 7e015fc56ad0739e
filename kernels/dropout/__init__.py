"""Dropout: random silence that a key makes repeatable."""
