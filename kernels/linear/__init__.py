"""Matrix-vector and matrix-matrix products."""
