"""The clients of one server for asyncio: as mayfly.client, awaitable."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any, AsyncIterator, Iterable, Mapping, TypeVar

from mayfly import calls, contract
from mayfly.aio.batcher import AsyncBatcher
from mayfly.aio.completion import AsyncCompletion
from mayfly.aio.connection import AsyncConnection
from mayfly.aio.download import download
from mayfly.aio.held_outputs import AsyncHeldOutputs
from mayfly.aio.retrieval import AsyncHeldOutput, AsyncRetrievals
from mayfly.aio.tasks import Tasks
from mayfly.aio.upload import AsyncData, AsyncSource, upload
from mayfly.call_id import new_call_id
from mayfly.calls import Claimed, InputItem, OutputItem, Outcome, Ttl
from mayfly.contract import MESSAGE_DATA_BYTES_MAX, SEGMENT_BYTES, Kinds, all_of
from mayfly.download import Reception
from mayfly.endpoint import Endpoint
from mayfly.errors import Error
from mayfly.settings import Settings
from mayfly.upload import Transmission
from mayfly.v1 import function_io_pb2 as pb

_SelfT = TypeVar("_SelfT", bound="_Awaiting")


class _Awaiting(Endpoint):
    """What client and worker have in common."""

    def _begin(self, settings: Settings) -> None:
        self._connection = AsyncConnection(settings)
        self._settings = settings
        self._tasks = Tasks()
        self._kinds = Kinds(settings)
        self._descriptions = AsyncBatcher(
            self._connection, self._tasks, self._kinds.descriptions
        )

    async def describe(self, call_id: str) -> calls.CallDescription:
        """As Client.describe."""
        return await self._descriptions.call(call_id)

    async def describe_all(self, call_ids: Iterable[str]) -> list[calls.CallDescription]:
        """As Client.describe_all."""
        ids = list(call_ids)
        return all_of(await self._descriptions.call_all(ids), ids)

    async def close(self) -> None:
        """Ends the connection. Calls under way end with Cancelled; held claims lapse."""
        await self._tasks.cancel_all()
        await self._connection.close()

    async def __aenter__(self: _SelfT) -> _SelfT:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncClient(_Awaiting):
    """Puts inputs and retrieves each output once, as Client does.

    Of one event loop and one process. What many tasks call at the same time travels together. A
    task that is cancelled while it waits loses nothing: an output on its way to it is given back.
    """

    def _begin(self, settings: Settings) -> None:
        super()._begin(settings)
        self._puts = AsyncBatcher(self._connection, self._tasks, self._kinds.put_inputs)
        self._deletions = AsyncBatcher(self._connection, self._tasks, self._kinds.deletions)
        self._retrievals = AsyncRetrievals(self._connection, self._tasks, self._kinds)

    async def put_input(
        self,
        data: AsyncData,
        ttl: Ttl = None,
        call_id: str | None = None,
        content_type: str = "",
        labels: Mapping[str, str] | None = None,
        encryption_key_id: str = "",
    ) -> str:
        """As Client.put_input; `data` may be an asynchronous iterator of bytes too. Files and other
        iterators are read on a thread."""
        call_id = call_id or new_call_id()
        metadata = contract.metadata_from(content_type, labels, encryption_key_id)
        head, source = await _head_of(data)
        item = contract.input_item(call_id, head, ttl, metadata)
        if source is None:
            await self._puts.call(item)
        else:
            transmission = Transmission(pb.InputItem(**item), source.source)
            await upload(self._connection, transmission, source)
        return call_id

    async def put_inputs(self, inputs: Iterable[InputItem | bytes], ttl: Ttl = None) -> list[str]:
        """As Client.put_inputs."""
        ids, items = contract.input_items(inputs, ttl)
        all_of(await self._puts.call_all(items), ids)
        return ids

    async def retrieve(self, call_id: str, timeout: float | None = None) -> calls.Output:
        """As Client.retrieve."""
        claimed = await self._retrievals.claim(call_id, timeout)
        if claimed.data is None:
            async with AsyncHeldOutput(self._retrievals, claimed) as held:
                return await held.read()
        await self._retrievals.acknowledge(claimed)
        return contract.output_of(claimed, claimed.data)

    @contextlib.asynccontextmanager
    async def retrieving(
        self, call_id: str, timeout: float | None = None
    ) -> AsyncIterator[AsyncHeldOutput]:
        """As Client.retrieving.

            async with client.retrieving(call, timeout=60) as out:
                async for piece in out.stream():
                    file.write(piece)
        """
        claimed = await self._retrievals.claim(call_id, timeout)
        async with AsyncHeldOutput(self._retrievals, claimed) as held:
            yield held

    async def retrieve_all(
        self, call_ids: Iterable[str], timeout: float | None = None
    ) -> list[calls.Output]:
        """As Client.retrieve_all."""
        ids = list(call_ids)
        found = await self._retrievals.claim_all(ids, timeout)
        came = [each for each in found if isinstance(each, Claimed) and each.data is not None]
        if len(came) == len(ids):
            return await self._retrievals.take_all(came)
        async with AsyncHeldOutputs(self._retrievals, found) as held:
            return [await each.read() for each in all_of(held, ids)]

    @contextlib.asynccontextmanager
    async def retrieving_all(
        self, call_ids: Iterable[str], timeout: float | None = None
    ) -> AsyncIterator[list[AsyncHeldOutput | Error]]:
        """As Client.retrieving_all."""
        found = await self._retrievals.claim_all(list(call_ids), timeout)
        async with AsyncHeldOutputs(self._retrievals, found) as held:
            yield held

    def as_completed(
        self,
        call_ids: Iterable[str],
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> AsyncCompletion:
        """As Client.as_completed, for `async for`."""
        return AsyncCompletion(self._retrievals, call_ids, timeout, return_exceptions)

    async def delete(self, call_id: str) -> datetime.datetime:
        """As Client.delete."""
        return await self._deletions.call(call_id)

    async def delete_all(self, call_ids: Iterable[str]) -> list[datetime.datetime]:
        """As Client.delete_all."""
        ids = list(call_ids)
        return all_of(await self._deletions.call_all(ids), ids)

    async def close(self) -> None:
        self._retrievals.close()
        await super().close()


class AsyncWorker(_Awaiting):
    """Gets inputs and puts outputs, as Worker does. Of one event loop and one process."""

    def _begin(self, settings: Settings) -> None:
        super()._begin(settings)
        self._gets = AsyncBatcher(self._connection, self._tasks, self._kinds.get_inputs)
        self._puts = AsyncBatcher(self._connection, self._tasks, self._kinds.put_outputs)

    async def get_input(self, call_id: str) -> calls.Input:
        """As Worker.get_input."""
        found = await self._gets.call(call_id)
        if found is not None:
            return found
        reception = Reception(call_id, data_bytes_max=self._settings.data_bytes_max)
        pieces = [piece async for piece in download(self._connection, reception)]
        return reception.received_input(b"".join(pieces))

    async def get_inputs(self, call_ids: Iterable[str]) -> list[calls.Input]:
        """As Worker.get_inputs."""
        ids = list(call_ids)
        found: list[Any] = []
        for call_id, result in zip(ids, await self._gets.call_all(ids)):
            try:  # None did not fit
                found.append(await self.get_input(call_id) if result is None else result)
            except Error as error:
                found.append(error)
        return all_of(found, ids)

    def stream_input(self, call_id: str) -> AsyncIterator[bytes]:
        """As Worker.stream_input, for `async for`."""
        return download(self._connection, Reception(call_id))

    async def put_output(
        self,
        call_id: str,
        data: AsyncData,
        attempt: int = 1,
        outcome: str = Outcome.SUCCESS,
        ttl: Ttl = None,
        content_type: str = "",
        labels: Mapping[str, str] | None = None,
        encryption_key_id: str = "",
    ) -> None:
        """As Worker.put_output; data as AsyncClient.put_input."""
        metadata = contract.metadata_from(content_type, labels, encryption_key_id)
        head, source = await _head_of(data)
        item = contract.output_item(call_id, head, attempt, outcome, ttl, metadata)
        if source is None:
            await self._puts.call(item)
        else:
            transmission = Transmission(pb.OutputItem(**item), source.source)
            await upload(self._connection, transmission, source)

    async def put_outputs(self, outputs: Iterable[OutputItem], ttl: Ttl = None) -> None:
        """As Worker.put_outputs."""
        ids, items = contract.output_items(outputs, ttl)
        all_of(await self._puts.call_all(items), ids)


async def _head_of(data: AsyncData) -> tuple[bytes, AsyncSource | None]:
    """The whole when it fits a message, otherwise where it comes from."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        if memoryview(data).nbytes <= MESSAGE_DATA_BYTES_MAX:
            return contract.as_bytes(data), None
    source = AsyncSource(data)
    head = await source.read(0)
    if len(head) < SEGMENT_BYTES or not await source.read(SEGMENT_BYTES):
        return head, None
    return b"", source
