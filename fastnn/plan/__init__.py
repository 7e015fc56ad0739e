"""Plans: a network traced into a flat list of kernel calls over planned memory."""

from fastnn.dispatch import TraceError

from .compiled import weight_of
from .plan import Plan
from .timed import TimedCalls

__all__ = ["Plan", "TimedCalls", "TraceError", "weight_of"]
