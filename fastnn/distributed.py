"""Training on several processes or machines by MPI; needs mpi4py (``pip install mpi4py mpich``).

``mpiexec -n 2 fastnn train digits`` needs nothing else. In a program of your own, every process runs the same lines::

    from mpi4py import MPI
    history = plan.fit(x, y, epochs=10, comm=MPI.COMM_WORLD)

and ends with the same weights, to the bit. How the work is shared: :class:`fastnn.training.DataParallel`.
"""

from __future__ import annotations

import os
from typing import Any

from fastnn import threads

__all__ = ["share_processors", "world"]

_LAUNCHERS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MV2_COMM_WORLD_SIZE")


def world() -> Any:
    """The communicator of all processes that ``mpiexec`` started with this one; None where it is alone.

    Raises
    ------
    ImportError
        Where there are several, and mpi4py is not installed.

    Examples
    --------
    >>> import fastnn.distributed
    >>> fastnn.distributed.world() is None
    True
    """
    count = next((os.environ[name] for name in _LAUNCHERS if name in os.environ), "1")
    if not count.isdecimal() or int(count) < 2:
        return None
    try:
        from mpi4py import MPI
    except ImportError:
        raise ImportError(f"mpiexec started {count} processes, which need mpi4py: pip install 'fastnn[mpi]'") from None
    return MPI.COMM_WORLD


def share_processors(comm: Any) -> int:
    """Share a machine's processors among its processes: sets the number of threads of this one, and returns it."""
    from mpi4py import MPI

    neighbours = comm.Split_type(MPI.COMM_TYPE_SHARED)
    count = max(1, threads.get_num_threads() // neighbours.Get_size())
    neighbours.Free()
    threads.set_num_threads(count)
    return count
