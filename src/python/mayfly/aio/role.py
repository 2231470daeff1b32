"""The common part of clients and workers: calls are described, and the connection is closed."""

from __future__ import annotations

import sys
from typing import Any, Iterable, Literal, Self, overload

from mayfly import arguments, calls
from mayfly.aio.batcher import AsyncBatcher
from mayfly.aio.connection import AsyncConnection
from mayfly.calls import CallId
from mayfly.contract import Kinds, all_of, each_of
from mayfly.endpoint import Endpoint
from mayfly.errors import Error
from mayfly.settings import Settings


class AsyncRole(Endpoint):

    def _begin(self, settings: Settings) -> None:
        self._connection = AsyncConnection(settings)
        self._settings = settings
        self._kinds = Kinds(settings)
        self._descriptions = AsyncBatcher(self._connection, self._kinds.descriptions)

    async def describe(self, call_id: CallId) -> calls.CallDescription:
        """The state of a call, never payload. One that is not there is UNKNOWN, not an error."""
        return await self._descriptions.call(arguments.call_id_from(call_id))

    @overload
    async def describe_all(
        self, call_ids: Iterable[CallId], *, return_exceptions: Literal[False] = False
    ) -> list[calls.CallDescription]: ...

    @overload
    async def describe_all(
        self, call_ids: Iterable[CallId], *, return_exceptions: Literal[True]
    ) -> list[calls.CallDescription | Error]: ...

    async def describe_all(
        self, call_ids: Iterable[CallId], *, return_exceptions: bool = False
    ) -> Any:
        """The same of many, in order.

        BatchError: some failed; with return_exceptions their errors are in their places instead.
        """
        ids = arguments.call_ids_from(call_ids)
        found = await self._descriptions.call_all(ids)
        return each_of(found, ids) if return_exceptions else all_of(found, ids)

    async def close(self) -> None:
        """Ends the connection. Calls under way end with Cancelled; held claims lapse."""
        await self._connection.close()

    def __del__(self) -> None:
        # Nobody has closed it.
        connection = getattr(self, "_connection", None)
        if connection is not None and not connection.closing.is_set and not sys.is_finalizing():
            connection.tasks.finalize(connection.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
