"""The lock of a plan: one thread runs it at a time, and a forked child begins without it."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from .program import guard

if TYPE_CHECKING:
    from .plan import Plan

_PLANS: weakref.WeakSet[Plan] = weakref.WeakSet()


class PythonGuard:
    """What the compiled Guard does: a lock that its own thread may not ask for twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    @property
    def taken(self) -> bool:
        """Whether somebody holds it."""
        return self._lock.locked()

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise ValueError("a plan was called by its own model, loss or optimiser")
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, *exception: object) -> None:
        self._owner = 0
        self._lock.release()


def new_lock() -> Any:
    """A lock that its own thread may not ask for twice."""
    return PythonGuard() if guard is None else guard.Guard()


def forget_after_fork(plan: Plan) -> None:
    """Give the plan a fresh lock in every forked child, and fresh programs where another thread was running one.

    A lock that the other thread held would never be released there.
    """
    _PLANS.add(plan)


def _after_fork() -> None:
    for plan in _PLANS:
        if plan._lock.taken:  # half of a run: its calls read what the other thread gave them
            plan._compiled = OrderedDict()
        plan._lock, plan._step_shortcut, plan._predict_shortcut = new_lock(), None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
