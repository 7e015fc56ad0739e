"""Losses: of elements (squared, absolute, binary cross entropy, hinge) and of classes (cross entropy, negative log likelihood)."""
