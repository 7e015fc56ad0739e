"""Operators of users' own, from scalar functions."""

from .elementwise import operator

__all__ = ["operator"]
