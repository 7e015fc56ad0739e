"""What tests of measurements share."""

import pytest

from .profiles import ROOFLINE


@pytest.fixture(params=[False, True], ids=["eager", "plan"])
def compiled(request):
    """Both ways to run a network."""
    return request.param


@pytest.fixture
def known_roofline(monkeypatch):
    monkeypatch.setattr("fastnn.measure.profiling.measurement.machine_roofline", lambda: ROOFLINE)
