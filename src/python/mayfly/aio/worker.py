"""The worker's end: it gets inputs and puts outputs."""

from __future__ import annotations

from typing import Any, AsyncIterator, Iterable, Literal, Mapping, overload

from mayfly import arguments, calls, put_items
from mayfly.aio.batcher import AsyncBatcher
from mayfly.aio.download import download
from mayfly.aio.role import AsyncRole
from mayfly.aio.sources import AsyncData
from mayfly.aio.upload import reading, upload
from mayfly.calls import CallId, OutputItem, Outcome, Ttl
from mayfly.contract import all_of, each_of
from mayfly.errors import Error
from mayfly.reception import Reception
from mayfly.settings import Settings
from mayfly.v1 import function_io_pb2 as pb


class AsyncWorker(AsyncRole):
    """Gets inputs and puts outputs; learns the ids of calls from its platform.

    Repeats, errors, threads, event loops and forks as AsyncClient.
    """

    def _begin(self, settings: Settings) -> None:
        super()._begin(settings)
        self._gets = AsyncBatcher(self._connection, self._kinds.get_inputs)
        self._puts = AsyncBatcher(self._connection, self._kinds.put_outputs)

    async def get_input(self, call_id: CallId) -> calls.Input:
        """The input of a call: bytes with content_type and labels. It can be read again until the
        output has been retrieved.

        NotFound: not there, or not any more. PayloadDamaged: it was stored or arrived damaged.
        PayloadTooLarge: larger than Settings.data_bytes_max; stream it with stream_input.
        """
        call_id = arguments.call_id_from(call_id)
        found = await self._gets.call(call_id)
        return await self._download_input(call_id) if found is None else found

    async def _download_input(self, call_id: str) -> calls.Input:
        reception = Reception(call_id, data_bytes_max=self._settings.data_bytes_max)
        pieces = [piece async for piece in download(self._connection, reception)]
        return reception.received_input(b"".join(pieces))

    @overload
    async def get_inputs(
        self, call_ids: Iterable[CallId], *, return_exceptions: Literal[False] = False
    ) -> list[calls.Input]: ...

    @overload
    async def get_inputs(
        self, call_ids: Iterable[CallId], *, return_exceptions: Literal[True]
    ) -> list[calls.Input | Error]: ...

    async def get_inputs(
        self, call_ids: Iterable[CallId], *, return_exceptions: bool = False
    ) -> Any:
        """The same of many, in order, in as few messages as they fit. Errors as of describe_all."""
        ids = arguments.call_ids_from(call_ids)
        found: list[Any] = [None] * len(ids)
        left = list(range(len(ids)))
        while left:
            asked = [ids[index] for index in left]
            for index, result in zip(left, await self._gets.call_all(asked)):
                found[index] = result
            # None did not fit into the answer. Where nothing did, each is larger than a message.
            count, left = len(left), [index for index in left if found[index] is None]
            if len(left) == count:
                break
        for index in left:
            try:
                found[index] = await self._download_input(ids[index])
            except Error as error:
                found[index] = error
        return each_of(found, ids) if return_exceptions else all_of(found, ids)

    def stream_input(self, call_id: CallId) -> AsyncIterator[bytes]:
        """The input in pieces of up to 1 MiB, of any size. When it ends without an error, that was
        the whole, as it was stored. Errors as of get_input."""
        return self._stream_input(Reception(arguments.call_id_from(call_id)))

    async def _stream_input(self, reception: Reception) -> AsyncIterator[bytes]:
        async for piece in download(self._connection, reception):
            yield piece

    async def put_output(
        self,
        call_id: CallId,
        data: AsyncData,
        attempt: int = 1,
        outcome: str = Outcome.SUCCESS,
        ttl: Ttl = None,
        content_type: str = "",
        labels: Mapping[str, str] | None = None,
        encryption_key_id: str = "",
    ) -> None:
        """Stores an output; data and metadata as AsyncClient.put_input. `attempt` is the number of the
        run, from 1: a higher one replaces an output that nobody holds. `outcome` is "success",
        "failure", "timeout" or "cancelled".

        NotFound: no such call, or it has ended. Conflict: the attempt has put another output.
        StaleAttempt: a later one was faster. OutputClaimed: a client holds an earlier one's.
        """
        metadata = put_items.metadata_from(content_type, labels, encryption_key_id)
        call_id = arguments.call_id_from(call_id)
        seconds = arguments.ttl_from(ttl)
        item = put_items.output_item(call_id, b"", attempt, outcome, seconds, metadata)
        async with reading(data) as (head, source):
            if source is None:
                await self._puts.call(put_items.with_data(item, head))
            else:
                await upload(self._connection, pb.OutputItem(**item), source)

    @overload
    async def put_outputs(
        self,
        outputs: Iterable[OutputItem],
        ttl: Ttl = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> None: ...

    @overload
    async def put_outputs(
        self, outputs: Iterable[OutputItem], ttl: Ttl = None, *, return_exceptions: Literal[True]
    ) -> list[Error | None]: ...

    async def put_outputs(
        self, outputs: Iterable[OutputItem], ttl: Ttl = None, *, return_exceptions: bool = False
    ) -> Any:
        """Stores many outputs, as AsyncClient.put_inputs. With return_exceptions it gives a list,
        with None where an output was stored."""
        ids, items = put_items.output_items(outputs, ttl)
        refused = put_items.too_large("outputs", items)
        if refused and not return_exceptions:
            raise refused[min(refused)]
        sent = put_items.others(items, refused)
        found = put_items.with_refused(await self._puts.call_all(sent), refused)
        if return_exceptions:
            return each_of(found, ids)
        all_of(found, ids)
        return None
