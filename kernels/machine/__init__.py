"""No operators: what the processor can do at most, for the roofline."""
