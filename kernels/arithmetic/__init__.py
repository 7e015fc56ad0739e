"""Elementwise arithmetic with broadcasting. Reference only: NumPy's own loops already run at the speed of memory."""
