"""The client of Mayfly, a store for the inputs and outputs of function calls.

    from mayfly import Client, Worker

    client = Client.from_env()                       # MAYFLY_SERVER, _CA, _CERT, _KEY
    call = client.put_input(b"question", ttl=3600)

    worker = Worker.from_env(profile="worker")
    worker.put_output(call, worker.get_input(call).upper())

    print(client.retrieve(call, timeout=60))         # b"QUESTION", and it is erased

AsyncClient and AsyncWorker are the same for asyncio. Errors are in mayfly.errors.

Forking is fine at any time, see mayfly.fork; for asyncio see mayfly.aio. A client that nobody has any
more is closed. A blocking client that was interrupted, by KeyboardInterrupt or what another signal's
handler raises, works on over a new connection. Of hundreds of interrupts one may stop gRPC for ever,
which the client cannot see: where interrupts are usual, make a new client after each.
"""

from mayfly import errors
from mayfly.aio import AsyncClient, AsyncCompletion, AsyncHeldOutput, AsyncWorker
from mayfly.call_id import new_call_id
from mayfly.calls import (
    CallDescription,
    CallState,
    Input,
    InputItem,
    Outcome,
    Output,
    OutputItem,
    PayloadDescription,
)
from mayfly.client import Client
from mayfly.completion import Completion
from mayfly.errors import *  # noqa: F403
from mayfly.errors import __all__ as _error_names
from mayfly.held_output import HeldOutput
from mayfly.settings import Settings
from mayfly.worker import Worker

__all__ = [
    "AsyncClient",
    "AsyncCompletion",
    "AsyncHeldOutput",
    "AsyncWorker",
    "CallDescription",
    "CallState",
    "Client",
    "Completion",
    "HeldOutput",
    "Input",
    "InputItem",
    "Outcome",
    "Output",
    "OutputItem",
    "PayloadDescription",
    "Settings",
    "Worker",
    "errors",
    "new_call_id",
    *_error_names,
]
