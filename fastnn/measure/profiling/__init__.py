"""What each layer of a network costs: time, work, memory, and how near to the machine's limit it comes."""

from .measurement import profile
from .result import PHASES, Layer, Part, Profile

__all__ = ["PHASES", "Layer", "Part", "Profile", "profile"]
