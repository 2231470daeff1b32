"""The payload of an output under a claim, which is renewed, acknowledged or given back."""

from __future__ import annotations

import os
from typing import AsyncIterator, Self

from mayfly import calls, fork
from mayfly.aio.download import download
from mayfly.aio.retrieval import AsyncRetrievals
from mayfly.calls import Claimed
from mayfly.contract import output_of, segments_of
from mayfly.held import Held
from mayfly.reception import Reception, check_fits_memory


class AsyncHeldPayload(Held):
    def __init__(self, retrievals: AsyncRetrievals, claimed: Claimed) -> None:
        super().__init__(claimed)
        self._retrievals = retrievals
        self._pid = os.getpid()

    async def _read(self) -> calls.Output:
        if self._output is None:
            bytes_max = self._retrievals.connection.settings.data_bytes_max
            check_fits_memory(self.call_id, self.size_bytes, bytes_max)
            data = b"".join([piece async for piece in self.stream()])
            self._output = output_of(self.claimed, data)
        return self._output

    async def stream(self) -> AsyncIterator[bytes]:
        """The data in pieces of up to 1 MiB. When it ends without an error, that was the whole, as
        it was stored; whatever cuts it short is an error."""
        if self._output is not None:
            for piece in segments_of(self._output):
                yield piece
            return
        reception = Reception(self.call_id, self.claimed)
        async for piece in download(self._retrievals.connection, reception, self._reclaim):
            yield piece
        self.claimed = reception.received_output()
        self.is_received = True

    async def _reclaim(self, claimed: Claimed) -> Claimed:
        again = await self._retrievals.reclaim(claimed)
        if self._is_held:
            self._retrievals.let_go(claimed.claim)
            self._retrievals.hold(again.claim)
        self.claimed = again
        return again

    async def release(self) -> None:
        """Gives the output back at once."""
        self._is_held = False
        await self._retrievals.release(self.claimed.claim)

    def hold(self) -> None:
        """Renews the claim from now on."""
        self._retrievals.hold(self.claimed.claim)
        self._is_held = True

    async def __aenter__(self) -> Self:
        self.hold()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if fork.is_gone(self._pid) or not self._is_held:
            return  # after a fork the claim is the parent's
        if kind is None and self.is_received:
            self._is_held = False
            await self._retrievals.acknowledge(self.claimed)
        else:
            await self.release()
