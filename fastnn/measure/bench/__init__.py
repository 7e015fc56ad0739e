"""fastnn beside other libraries: kernels and whole networks, every result checked before it is timed."""
