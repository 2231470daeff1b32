"""The clients of one server, blocking: `Client` puts inputs and retrieves outputs, `Worker` gets
inputs and puts outputs."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any, Iterable, Iterator, Mapping, TypeVar

from mayfly import calls, contract
from mayfly.batcher import Batcher
from mayfly.call_id import new_call_id
from mayfly.calls import Claimed, InputItem, OutputItem, Outcome, Ttl
from mayfly.completion import Completion
from mayfly.connection import Connection
from mayfly.contract import MESSAGE_DATA_BYTES_MAX, SEGMENT_BYTES, Kinds, all_of
from mayfly.download import Reception, download
from mayfly.endpoint import Endpoint
from mayfly.errors import Error
from mayfly.held_outputs import HeldOutputs
from mayfly.retrieval import HeldOutput, Retrievals
from mayfly.settings import Settings
from mayfly.upload import Data, Source, Transmission, source_of, upload
from mayfly.v1 import function_io_pb2 as pb

_SelfT = TypeVar("_SelfT", bound="_Blocking")


class _Blocking(Endpoint):
    """What client and worker have in common."""

    def _begin(self, settings: Settings) -> None:
        self._connection = Connection(settings)
        self._settings = settings
        self._kinds = Kinds(settings)
        self._descriptions = Batcher(self._connection, self._kinds.descriptions)

    def describe(self, call_id: str) -> calls.CallDescription:
        """The state of a call, never payload. One that is not there is UNKNOWN, not an error."""
        return self._descriptions.call(call_id)

    def describe_all(self, call_ids: Iterable[str]) -> list[calls.CallDescription]:
        """The same of many, in order. BatchError: some failed."""
        ids = list(call_ids)
        return all_of(self._descriptions.call_all(ids), ids)

    def close(self) -> None:
        """Ends the connection. Calls under way end with Cancelled; held claims lapse."""
        self._connection.close()

    def __enter__(self: _SelfT) -> _SelfT:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client(_Blocking):
    """Puts inputs and retrieves each output once. Thread-safe.

    What many threads call at the same time travels together. A call that cannot reach the server
    is repeated for up to Settings.timeout; that does no harm, and when it did not help the error is
    Unavailable or TimedOut. Any method can also raise PermissionDenied, LimitExceeded and
    InvalidArgument. All of them are mayfly.Error.

    A fork is survived: see mayfly.fork.
    """

    def _begin(self, settings: Settings) -> None:
        super()._begin(settings)
        self._puts = Batcher(self._connection, self._kinds.put_inputs)
        self._deletions = Batcher(self._connection, self._kinds.deletions)
        self._retrievals = Retrievals(self._connection, self._kinds)

    def put_input(
        self,
        data: Data,
        ttl: Ttl = None,
        call_id: str | None = None,
        content_type: str = "",
        labels: Mapping[str, str] | None = None,
        encryption_key_id: str = "",
    ) -> str:
        """Stores an input, and returns the id of its call.

        `data` is bytes, a binary file, or an iterator of bytes; of any size up to the server's
        limits.payload_bytes_max (1 GiB). `ttl` is how long it stays readable, in seconds or as a
        timedelta, 1 s to 24 h; None is the server's default. Give a `call_id` of new_call_id() when
        this may be repeated after an error: with another id it is another call. `content_type` and
        `encryption_key_id` are up to 255 bytes; at most 16 labels, 1024 bytes in all.

        Conflict: the call has another input. NotFound: the call has ended. PayloadTooLarge.
        """
        call_id = call_id or new_call_id()
        metadata = contract.metadata_from(content_type, labels, encryption_key_id)
        head, source = _head_of(data)
        item = contract.input_item(call_id, head, ttl, metadata)
        if source is None:
            self._puts.call(item)
        else:
            upload(self._connection, Transmission(pb.InputItem(**item), source))
        return call_id

    def put_inputs(self, inputs: Iterable[InputItem | bytes], ttl: Ttl = None) -> list[str]:
        """Stores many inputs, and returns the ids of their calls in order. `ttl` is of those that
        have none. Each may have up to 60 MiB; larger ones want put_input.

        BatchError: some failed; it has their errors and the ids of all.
        """
        ids, items = contract.input_items(inputs, ttl)
        all_of(self._puts.call_all(items), ids)
        return ids

    def retrieve(self, call_id: str, timeout: float | None = None) -> calls.Output:
        """Waits for the output of a call, up to `timeout` seconds (None: for ever), and ends the
        call: its payloads are erased when this returns. The output is bytes with an outcome,
        content_type, labels and attempt.

        When the output must not be lost even if this process dies with it, use retrieving.

        Pending (a TimeoutError): it was not there in time. NotFound: it never will be. ClaimLost:
        another client was faster. PayloadDamaged: it was stored or arrived damaged. PayloadTooLarge:
        larger than Settings.data_bytes_max; stream it with retrieving.
        """
        claimed = self._retrievals.claim(call_id, timeout)
        if claimed.data is None:
            with HeldOutput(self._retrievals, claimed) as held:
                return held.data
        self._retrievals.acknowledge(claimed)
        return contract.output_of(claimed, claimed.data)

    @contextlib.contextmanager
    def retrieving(self, call_id: str, timeout: float | None = None) -> Iterator[HeldOutput]:
        """The same as a context: the output is held, its claim renewed, while its block runs. It is
        acknowledged and erased when the block ends, and given back when an exception ends it, or
        when a large output was not read to its end.

            with client.retrieving(call, timeout=60) as out:
                for piece in out.stream():
                    file.write(piece)
        """
        with HeldOutput(self._retrievals, self._retrievals.claim(call_id, timeout)) as held:
            yield held

    def retrieve_all(
        self, call_ids: Iterable[str], timeout: float | None = None
    ) -> list[calls.Output]:
        """The same of many, in order, in as few messages as they fit. All are held until the last
        is there; as_completed does not wait for that.

        BatchError: some cannot be had, and the others are given back.
        """
        ids = list(call_ids)
        found = self._retrievals.claim_all(ids, timeout)
        came = [each for each in found if isinstance(each, Claimed) and each.data is not None]
        if len(came) == len(ids):
            return self._retrievals.take_all(came)
        with HeldOutputs(self._retrievals, found) as held:
            return [each.data for each in all_of(held, ids)]

    @contextlib.contextmanager
    def retrieving_all(
        self, call_ids: Iterable[str], timeout: float | None = None
    ) -> Iterator[list[HeldOutput | Error]]:
        """The same as a context: a list, in order, of outputs as `retrieving` holds them, and of the
        errors of those that cannot be had.

        BatchError, at the end of the block: some could not be acknowledged.
        """
        found = self._retrievals.claim_all(list(call_ids), timeout)
        with HeldOutputs(self._retrievals, found) as held:
            yield held

    def as_completed(
        self,
        call_ids: Iterable[str],
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> Completion:
        """Iterates over (call_id, output) of up to 65536 calls (limits.stream_subscriptions_max), in
        the order in which the outputs arrive, each once. An output is acknowledged some time after
        the loop came back for the next one, at the latest with the end of the iteration; the one
        that the loop is left with is given back. Outputs wait under claims in a window of 16 MiB.

        A call that will have no output raises its error, or with return_exceptions gives it in the
        output's place. TimedOut: not all came within `timeout` seconds. Errors as of retrieve.
        """
        return Completion(self._retrievals, call_ids, timeout, return_exceptions)

    def delete(self, call_id: str) -> datetime.datetime:
        """Ends a call in any state, and tells when its payloads were erased; again for a call that
        was deleted before. NotFound: it has ended otherwise, or never was."""
        return self._deletions.call(call_id)

    def delete_all(self, call_ids: Iterable[str]) -> list[datetime.datetime]:
        """The same of many, in order. BatchError: some failed."""
        ids = list(call_ids)
        return all_of(self._deletions.call_all(ids), ids)

    def close(self) -> None:
        self._retrievals.close()
        super().close()


class Worker(_Blocking):
    """Gets inputs and puts outputs; learns the ids of calls from its platform. Thread-safe.

    Repeats and errors as Client.
    """

    def _begin(self, settings: Settings) -> None:
        super()._begin(settings)
        self._gets = Batcher(self._connection, self._kinds.get_inputs)
        self._puts = Batcher(self._connection, self._kinds.put_outputs)

    def get_input(self, call_id: str) -> calls.Input:
        """The input of a call: bytes with content_type and labels. It can be read again until the
        output has been retrieved.

        NotFound: not there, or not any more. PayloadDamaged: it was stored or arrived damaged.
        PayloadTooLarge: larger than Settings.data_bytes_max; stream it with stream_input.
        """
        found = self._gets.call(call_id)
        if found is not None:
            return found
        reception = Reception(call_id, data_bytes_max=self._settings.data_bytes_max)
        return reception.received_input(b"".join(download(self._connection, reception)))

    def get_inputs(self, call_ids: Iterable[str]) -> list[calls.Input]:
        """The same of many, in order. BatchError: some failed."""
        ids = list(call_ids)
        found: list[Any] = []
        for call_id, result in zip(ids, self._gets.call_all(ids)):
            try:  # None did not fit
                found.append(self.get_input(call_id) if result is None else result)
            except Error as error:
                found.append(error)
        return all_of(found, ids)

    def stream_input(self, call_id: str) -> Iterator[bytes]:
        """The input in pieces of up to 1 MiB, of any size. When it ends without an error, that was
        the whole, as it was stored. Errors as of get_input."""
        return download(self._connection, Reception(call_id))

    def put_output(
        self,
        call_id: str,
        data: Data,
        attempt: int = 1,
        outcome: str = Outcome.SUCCESS,
        ttl: Ttl = None,
        content_type: str = "",
        labels: Mapping[str, str] | None = None,
        encryption_key_id: str = "",
    ) -> None:
        """Stores an output; data and metadata as Client.put_input. `attempt` is the number of the
        run, from 1: a higher one replaces an output that nobody holds. `outcome` is "success",
        "failure", "timeout" or "cancelled".

        NotFound: no such call, or it has ended. Conflict: the attempt has put another output.
        StaleAttempt: a later one was faster. OutputClaimed: a client holds an earlier one's.
        """
        metadata = contract.metadata_from(content_type, labels, encryption_key_id)
        head, source = _head_of(data)
        item = contract.output_item(call_id, head, attempt, outcome, ttl, metadata)
        if source is None:
            self._puts.call(item)
        else:
            upload(self._connection, Transmission(pb.OutputItem(**item), source))

    def put_outputs(self, outputs: Iterable[OutputItem], ttl: Ttl = None) -> None:
        """Stores many outputs, as Client.put_inputs."""
        ids, items = contract.output_items(outputs, ttl)
        all_of(self._puts.call_all(items), ids)


def _head_of(data: Data) -> tuple[bytes, Source | None]:
    """The whole when it fits a message, otherwise where it comes from."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        if memoryview(data).nbytes <= MESSAGE_DATA_BYTES_MAX:
            return contract.as_bytes(data), None
    source = source_of(data)
    head = source.read(0)
    if len(head) < SEGMENT_BYTES or not source.read(SEGMENT_BYTES):
        return head, None
    return b"", source
