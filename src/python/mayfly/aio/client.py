"""The client's end: it puts inputs and retrieves outputs."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any, AsyncIterator, Iterable, Literal, Mapping, overload

from mayfly import arguments, calls, put_items
from mayfly.aio.batcher import AsyncBatcher
from mayfly.aio.completion import AsyncCompletion
from mayfly.aio.held_output import AsyncHeldOutput
from mayfly.aio.held_outputs import AsyncHeldOutputs, take_each
from mayfly.aio.retrieval import AsyncRetrievals
from mayfly.aio.role import AsyncRole
from mayfly.aio.sources import AsyncData, AsyncSource
from mayfly.aio.upload import reading, upload
from mayfly.arguments import Buffer
from mayfly.backoff import Backoff
from mayfly.call_id import learn_time, local_time, new_call_id, said_of_clocks
from mayfly.calls import CallId, Claimed, InputItem, Timeout, Ttl
from mayfly.contract import all_of, each_of, output_of
from mayfly.errors import Error, InvalidArgument, is_of_another_time
from mayfly.settings import Settings
from mayfly.v1 import function_io_pb2 as pb


class AsyncClient(AsyncRole):
    """Puts inputs and retrieves each output once.

    Calls made at the same time travel together. A call that cannot reach the server is repeated for
    up to Settings.timeout; that does no harm, and when it did not help the error is Unavailable or
    TimedOut. Any method can also raise PermissionDenied, LimitExceeded and InvalidArgument. All of
    them are mayfly.Error.

    A blocking client is thread-safe, and works on after a fork: see mayfly.fork. An asyncio client
    belongs to one event loop and one process; a task that is cancelled while it waits loses nothing:
    an output on its way to it is given back.
    """

    def _begin(self, settings: Settings) -> None:
        super()._begin(settings)
        self._puts = AsyncBatcher(self._connection, self._kinds.put_inputs)
        self._deletions = AsyncBatcher(self._connection, self._kinds.deletions)
        self._retrievals = AsyncRetrievals(self._connection, self._kinds)
        self._connection.before_close = self._retrievals.close

    async def put_input(
        self,
        data: AsyncData,
        ttl: Ttl = None,
        call_id: CallId | None = None,
        content_type: str = "",
        labels: Mapping[str, str] | None = None,
        encryption_key_id: str = "",
    ) -> str:
        """Stores an input, and returns the id of its call.

        `data` is bytes, a binary file, the pathlib.Path of a file, or an iterator of bytes; of any
        size up to the server's limits.payload_bytes_max (1 GiB). For an asyncio client the iterator
        may be asynchronous; files and other iterators are read on a thread. `ttl` is how long it
        stays readable, in seconds or as a timedelta, 1 s to 24 h; None is the server's default. Give
        a `call_id` of new_call_id() when this may be repeated after an error: with another id it is
        another call. `content_type` and `encryption_key_id` are up to 255 bytes; at most 16 labels,
        1024 bytes in all.

        Conflict: the call has another input. NotFound: the call has ended. PayloadTooLarge.
        """
        is_minted = call_id is None or call_id == ""
        call_id = arguments.call_id_from(new_call_id() if is_minted else call_id)
        metadata = put_items.metadata_from(content_type, labels, encryption_key_id)
        item = put_items.input_item(call_id, b"", arguments.ttl_from(ttl), metadata)
        async with reading(data) as (head, source):
            item = put_items.with_data(item, head)
            try:
                await self._put(item, source)
            except InvalidArgument as error:
                if not is_of_another_time(error):
                    raise
                await self._learn_time()
                if not is_minted:
                    raise _said_of_clocks(error) from None
                item["call_id"] = new_call_id()
                await self._put(item, source)
        return str(item["call_id"])

    async def _put(self, item: put_items.PutItem, source: AsyncSource | None) -> None:
        if source is None:
            await self._puts.call(item)
        else:
            await upload(self._connection, pb.InputItem(**item), source)

    async def _learn_time(self) -> None:
        asked_s = local_time()
        backoff = Backoff(self._settings, self._connection.deadline())
        info = await self._connection.invoke("GetServerInfo", pb.GetServerInfoRequest(), backoff)
        learn_time(info.server_time.ToNanoseconds() / 1e9, asked_s)

    @overload
    async def put_inputs(
        self,
        inputs: Iterable[InputItem | Buffer],
        ttl: Ttl = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> list[str]: ...

    @overload
    async def put_inputs(
        self,
        inputs: Iterable[InputItem | Buffer],
        ttl: Ttl = None,
        *,
        return_exceptions: Literal[True],
    ) -> list[str | Error]: ...

    async def put_inputs(
        self,
        inputs: Iterable[InputItem | Buffer],
        ttl: Ttl = None,
        *,
        return_exceptions: bool = False,
    ) -> Any:
        """Stores many inputs, and returns the ids of their calls in order. `ttl` is of those that
        have none. Each may have up to 60 MiB; put larger ones with put_input.

        PayloadTooLarge: one has more, and none was sent; with return_exceptions the others are.
        BatchError: some failed; it has their errors and the ids of all. With return_exceptions the
        errors, which have the ids too, are in their places instead.
        """
        are_minted, items = put_items.input_items(inputs, ttl)
        refused = put_items.too_large("inputs", items)
        if refused and not return_exceptions:
            raise refused[min(refused)]
        sent = put_items.others(items, refused)
        found = put_items.with_refused(await self._puts.call_all(sent), refused)
        if any(map(is_of_another_time, found)):
            await self._learn_time()
            await self._put_again(items, are_minted, found)
        ids = [str(item["call_id"]) for item in items]
        if not return_exceptions:
            all_of(found, ids)
            return ids
        return [id if each is None else each for id, each in zip(ids, each_of(found, ids))]

    async def _put_again(
        self, items: list[put_items.PutItem], are_minted: list[bool], found: list[Error | None]
    ) -> None:
        """Those that were refused because of the time in their ids, with new ones."""
        again = []
        for index, result in enumerate(found):
            if not is_of_another_time(result):
                continue
            if are_minted[index]:
                items[index]["call_id"] = new_call_id()
                again.append(index)
            elif result is not None:
                found[index] = _said_of_clocks(result)
        results = await self._puts.call_all([items[index] for index in again])
        for index, result in zip(again, results):
            found[index] = result

    async def retrieve(self, call_id: CallId, timeout: Timeout = None) -> calls.Output:
        """Waits for the output of a call, up to `timeout` in seconds or as a timedelta (None: for
        ever), and ends the call: its payloads are erased when this returns. The output is bytes with
        an outcome, content_type, labels and attempt.

        When the output must not be lost even if this process dies with it, use retrieving.

        Pending (a TimeoutError): it was not there in time, or another client held it, which describe
        tells (CLAIMED). TimedOut: it did not come, and the server could not be reached at the end.
        Unavailable: the server could not be reached for Settings.timeout. NotFound: it never will be
        there; OUTPUT_CONSUMED: it was retrieved. ClaimLost: the claim lapsed before the output was
        acknowledged, and another client has it. PayloadDamaged: it was stored or arrived damaged.
        PayloadTooLarge: larger than Settings.data_bytes_max; stream it with retrieving.
        """
        claimed = await self._retrievals.claim(
            arguments.call_id_from(call_id), arguments.timeout_from(timeout)
        )
        if claimed.data is None:
            async with AsyncHeldOutput(self._retrievals, claimed) as held:
                return await held._read()
        await self._retrievals.acknowledge(claimed)
        return output_of(claimed, claimed.data)

    @contextlib.asynccontextmanager
    async def retrieving(
        self, call_id: CallId, timeout: Timeout = None
    ) -> AsyncIterator[AsyncHeldOutput]:
        """The same as a context: the output is held, its claim renewed, while its block runs. It is
        acknowledged and erased when the block ends, and given back when an exception ends it, or
        when a large output was not read to its end.

            async with client.retrieving(call, timeout=60) as out:
                async for piece in out.stream():
                    file.write(piece)
        """
        claimed = await self._retrievals.claim(
            arguments.call_id_from(call_id), arguments.timeout_from(timeout)
        )
        async with AsyncHeldOutput(self._retrievals, claimed) as held:
            yield held

    @overload
    async def retrieve_all(
        self,
        call_ids: Iterable[CallId],
        timeout: Timeout = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> list[calls.Output]: ...

    @overload
    async def retrieve_all(
        self,
        call_ids: Iterable[CallId],
        timeout: Timeout = None,
        *,
        return_exceptions: Literal[True],
    ) -> list[calls.Output | Error]: ...

    async def retrieve_all(
        self,
        call_ids: Iterable[CallId],
        timeout: Timeout = None,
        *,
        return_exceptions: bool = False,
    ) -> Any:
        """The same of many, in order, in as few messages as they fit. All are held until the last
        is there or `timeout`, of all together, is over, so there may be as many as a tenant can hold
        (claims.outstanding_max, 10,000); as_completed waits for more, and not for the last.

        BatchError: some cannot be had, and the others are given back. With return_exceptions the
        errors are in their places instead, and the others are taken.
        """
        ids = arguments.call_ids_from(call_ids)
        found = await self._retrievals.claim_all(ids, arguments.timeout_from(timeout))
        if return_exceptions:
            return each_of(await take_each(self._retrievals, found), ids)
        came = [each for each in found if isinstance(each, Claimed) and each.data is not None]
        if len(came) == len(ids):
            return await self._retrievals.take_all(came)
        async with AsyncHeldOutputs(self._retrievals, found) as held:
            return [await each._read() for each in all_of(held, ids)]

    @contextlib.asynccontextmanager
    async def retrieving_all(
        self, call_ids: Iterable[CallId], timeout: Timeout = None
    ) -> AsyncIterator[list[AsyncHeldOutput | Error]]:
        """The same as a context: a list, in order, of outputs as `retrieving` holds them, and of the
        errors of those that cannot be had.

        BatchError, at the end of the block: some could not be acknowledged.
        """
        ids = arguments.call_ids_from(call_ids)
        found = await self._retrievals.claim_all(ids, arguments.timeout_from(timeout))
        async with AsyncHeldOutputs(self._retrievals, each_of(found, ids)) as held:
            yield held

    @overload
    def as_completed(
        self,
        call_ids: Iterable[CallId],
        timeout: Timeout = None,
        return_exceptions: Literal[False] = False,
    ) -> AsyncCompletion[calls.Output]: ...

    @overload
    def as_completed(
        self,
        call_ids: Iterable[CallId],
        timeout: Timeout = None,
        *,
        return_exceptions: Literal[True],
    ) -> AsyncCompletion[calls.Output | Error]: ...

    def as_completed(
        self,
        call_ids: Iterable[CallId],
        timeout: Timeout = None,
        return_exceptions: bool = False,
    ) -> AsyncCompletion[Any]:
        """Iterates over (call_id, output) of up to 65536 calls (limits.stream_subscriptions_max), in
        the order in which the outputs arrive, each once. An output is acknowledged some time after
        the loop came back for the next one, at the latest with the end of the iteration; the one
        that the loop is left with is given back. Outputs wait under claims in a window of 16 MiB.

        A call that will have no output raises its error, or with return_exceptions gives it in the
        output's place. Pending: not all came within `timeout` seconds. InvalidArgument: too many
        calls; iterate over parts of them. Errors as of retrieve.
        """
        ids = arguments.call_ids_from(call_ids)
        seconds = arguments.timeout_from(timeout)
        return AsyncCompletion(self, self._retrievals, ids, seconds, return_exceptions)

    async def delete(self, call_id: CallId) -> datetime.datetime:
        """Ends a call in any state, and tells when its payloads were erased; again for a call that
        was deleted before. NotFound: it has ended otherwise, or never was."""
        return await self._deletions.call(arguments.call_id_from(call_id))

    @overload
    async def delete_all(
        self, call_ids: Iterable[CallId], *, return_exceptions: Literal[False] = False
    ) -> list[datetime.datetime]: ...

    @overload
    async def delete_all(
        self, call_ids: Iterable[CallId], *, return_exceptions: Literal[True]
    ) -> list[datetime.datetime | Error]: ...

    async def delete_all(
        self, call_ids: Iterable[CallId], *, return_exceptions: bool = False
    ) -> Any:
        """The same of many, in order. Errors as of describe_all."""
        ids = arguments.call_ids_from(call_ids)
        found = await self._deletions.call_all(ids)
        return each_of(found, ids) if return_exceptions else all_of(found, ids)


def _said_of_clocks(error: Error) -> Error:
    text = error.message + said_of_clocks()
    return type(error)(text, error.reason, error.call_id, error.retry_after)
