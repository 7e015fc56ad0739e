"""Normalization over the batch (batch_norm), the features of an example (layer_norm), or groups of its channels (group_norm)."""
