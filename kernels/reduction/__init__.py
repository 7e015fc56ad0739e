"""Sums, means, variances and extrema along dimensions."""
