"""Plans: a network traced into a flat list of kernel calls over planned memory."""

from .plan import Plan
from .trace import TraceError

__all__ = ["Plan", "TraceError"]
