"""Passes over a graph: each makes it cheaper without changing its results, and says in one line what it did."""

from __future__ import annotations

from ..graph import Graph
from .chains import fuse_chains
from .dead_code import drop_dead_code
from .epilogues import fuse_activations
from .masks import fuse_masks
from .order import pool_before_relu

PASSES = (drop_dead_code, pool_before_relu, fuse_activations, fuse_masks, fuse_chains)


def improve(graph: Graph) -> list[str]:
    """Run all passes, in order; what each did."""
    return [improvement(graph) for improvement in PASSES]


__all__ = ["PASSES", "drop_dead_code", "fuse_activations", "fuse_chains", "fuse_masks", "improve", "pool_before_relu"]
