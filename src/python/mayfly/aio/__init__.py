"""The asyncio half of mayfly.

A client belongs to one event loop and one process: it says so in a fork, where another one can be
made.
"""

# The blocking half is generated from the modules that blocking_half.py lists. Their docstrings serve
# both.

from mayfly.aio.client import AsyncClient
from mayfly.aio.completion import AsyncCompletion
from mayfly.aio.held_output import AsyncHeldOutput
from mayfly.aio.worker import AsyncWorker

__all__ = ["AsyncClient", "AsyncCompletion", "AsyncHeldOutput", "AsyncWorker"]
