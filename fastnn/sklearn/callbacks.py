"""scikit-learn's callback protocol: its own where the installed version has one (1.9 and later), else the same in small."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["CallbackSupportMixin", "Iterations", "with_callbacks"]

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackContext:
        """Where in a fit a callback is called.

        Attributes
        ----------
        estimator_name, task_name : str
        task_id : int
        max_subtasks : int or None
        parent : CallbackContext or None
        """

        def __init__(
            self, estimator: Any, task_name: str, task_id: int = 0, max_subtasks: int | None = 0, parent: Any = None
        ) -> None:
            self.estimator_name, self.task_name, self.task_id = type(estimator).__name__, task_name, task_id
            self.max_subtasks, self.parent, self.subtasks = max_subtasks, parent, 0

        def subcontext(self, task_name: str = "") -> CallbackContext:
            """The context of the next subtask."""
            self.subtasks += 1
            child = copy.copy(self)
            child.task_name, child.task_id, child.max_subtasks, child.parent = task_name, self.subtasks - 1, 0, self
            return child

        def call_on_fit_task_begin(self, *, estimator: Any, **given: Any) -> None:
            """Tell all callbacks."""
            self._call("on_fit_task_begin", estimator, given)

        def call_on_fit_task_end(self, *, estimator: Any, **given: Any) -> bool:
            """Tell all callbacks; whether one of them wants to stop."""
            return any(self._call("on_fit_task_end", estimator, given))

        def _call(self, hook: str, estimator: Any, given: dict[str, Any]) -> list[bool]:
            answers = []
            for callback in getattr(estimator, "_skl_callbacks", []):
                method = getattr(callback, hook)
                wanted = {p.name for p in inspect.signature(method).parameters.values() if p.kind == p.KEYWORD_ONLY}
                values = {name: given.get(name) for name in wanted}
                if "fitted_estimator" in wanted and "reconstruction_attributes" in given:
                    values["fitted_estimator"] = copy.copy(estimator)
                    vars(values["fitted_estimator"]).update(given["reconstruction_attributes"]())
                answers.append(bool(method(estimator, self, **values)))
            return answers

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Estimators whose fit calls callbacks."""

        def set_callbacks(self, *callbacks: Any) -> Any:
            """Set the objects whose ``setup``, ``on_fit_task_begin``, ``on_fit_task_end`` and ``teardown`` are called in ``fit``.

            Raises
            ------
            TypeError
                Where one of them lacks a method.
            """
            for callback in callbacks:
                for hook in ("setup", "on_fit_task_begin", "on_fit_task_end", "teardown"):
                    if isinstance(callback, type) or not callable(getattr(callback, hook, None)):
                        raise TypeError("callbacks must be instances following the FitCallback protocol.")
            self._skl_callbacks = list(callbacks)
            return self

        def _init_callback_context(self, task_name: str = "fit", max_subtasks: int | None = 0) -> CallbackContext:
            self._callback_fit_ctx = CallbackContext(self, task_name, max_subtasks=max_subtasks)
            for callback in getattr(self, "_skl_callbacks", []):
                callback.setup(self, self._callback_fit_ctx)
            return self._callback_fit_ctx

    def with_callbacks(method: Any) -> Any:
        """Have the callbacks' ``teardown`` called after a method, however it ends."""

        def managed(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return method(self, *args, **kwargs)
            finally:
                context = vars(self).pop("_callback_fit_ctx", None)
                for callback in getattr(self, "_skl_callbacks", []) if context is not None else []:
                    callback.teardown(self, context)

        return managed


class Iterations:
    """Tells an estimator's callbacks of its fit and of each iteration.

    Parameters
    ----------
    estimator : estimator
        With :class:`CallbackSupportMixin`.
    X, y : array
    sample_weight : array, optional
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
        self.estimator = estimator
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.given = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self.context: Any = None  # of the fit, inside it
        self.iteration: Any = None  # likewise

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return self.context is not None and bool(getattr(self.estimator, "_skl_callbacks", []))

    @contextmanager
    def fit(self) -> Iterator[None]:
        """The whole fit."""
        self.context = self.estimator._init_callback_context(max_subtasks=self.estimator.max_iter)
        self.context.call_on_fit_task_begin(**self.given)
        yield
        if self.iteration is not None:
            self.end()
        self.context.call_on_fit_task_end(**self.given, reconstruction_attributes=dict)

    def begin(self) -> None:
        """An iteration begins, unless it did so before."""
        if self.wanted and self.iteration is None:
            self.iteration = self.context.subcontext(task_name="iteration")
            self.iteration.call_on_fit_task_begin(**self.given)

    def end(self) -> bool:
        """An iteration ends, with its weights in the estimator; whether a callback wants to stop."""
        if not self.wanted:
            return False
        iteration, self.iteration = self.iteration, None
        learned = {name: list(getattr(self.estimator, name)) for name in ("coefs_", "intercepts_")}
        return iteration.call_on_fit_task_end(**self.given, reconstruction_attributes=lambda: learned)
