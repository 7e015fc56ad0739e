"""What is measured: rows of kernels and whole networks, as data, and the arrays and results of each."""
