"""Views and joins: reshape, permute, index, broadcast, cat, stack. Reference only: there is nothing to compute."""
