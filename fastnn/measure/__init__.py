"""Measuring: what each layer costs, whether each kernel agrees with the reference, and which of several functions is faster."""

from .profiling import Profile, profile
from .roofline import Roofline, machine_roofline
from .samples import Ratio, Timing, paired_ratio, summarize
from .scaling_result import Scaling
from .scaling_study import scaling
from .timing import Race, interleaved, pinned
from .verification import KernelCheck, verify

__all__ = [
    "KernelCheck", "Profile", "Race", "Ratio", "Roofline", "Scaling", "Timing", "interleaved", "machine_roofline", "paired_ratio",
    "pinned", "profile", "scaling", "summarize", "verify",
]  # fmt: skip
