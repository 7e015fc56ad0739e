"""What tests of adapters share."""

import pytest

import fastnn
from fastnn import dispatch


@pytest.fixture
def without_compilation():
    """Compiled kernels where they are installed, else the reference: Numba would compile a kernel for many a case of its own."""
    if dispatch.is_available("cython"):
        yield
        return
    with fastnn.use_backend("reference"):
        yield
