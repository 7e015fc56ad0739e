"""Losses of classes."""

from __future__ import annotations

from typing import Any

from fastnn import functional as F

from ..node import Node, implements


@implements("NegativeLogLikelihoodLoss")
def negative_log_likelihood(node: Node, x: Any, target: Any, weight: Any = None) -> Any:
    """-weight x of the target class, reduced."""
    return F.nll_loss(x, target, weight, ignore_index=node.get("ignore_index", -100), reduction=node["reduction"])


@implements("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(node: Node, scores: Any, labels: Any, weights: Any = None) -> Any:
    """Negative log likelihood of the softmax, and its logarithm where the graph takes it."""
    loss = F.cross_entropy(scores, labels, weights, ignore_index=node.get("ignore_index", -100), reduction=node["reduction"])
    return (loss, F.log_softmax(scores, 1)) if node.wants(1) else loss
