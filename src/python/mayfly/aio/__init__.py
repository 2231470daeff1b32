"""The asyncio half of mayfly.

A client belongs to one event loop and one process: gRPC's asyncio does not survive a fork. Make
clients after it, in processes whose parent never had one, or spawn instead of forking.
"""

from mayfly.aio.client import AsyncClient, AsyncWorker
from mayfly.aio.completion import AsyncCompletion
from mayfly.aio.retrieval import AsyncHeldOutput

__all__ = ["AsyncClient", "AsyncCompletion", "AsyncHeldOutput", "AsyncWorker"]
