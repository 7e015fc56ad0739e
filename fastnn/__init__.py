"""fastnn: compute kernels for neural networks on the CPU."""
