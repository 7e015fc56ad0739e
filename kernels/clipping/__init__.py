"""Clipping: gradients scaled together so that their norm keeps to a limit."""
