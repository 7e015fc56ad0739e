"""What tests of families share."""

import pytest

import fastnn
from fastnn import dispatch
from fastnn.kernels import BACKENDS


@pytest.fixture(params=[name for name in BACKENDS if dispatch.is_available(name)])
def backend(request):
    """Each backend of this installation in turn."""
    with fastnn.use_backend(request.param):
        yield request.param
