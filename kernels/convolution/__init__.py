"""Convolution (cross-correlation, as in every framework) in two dimensions."""
