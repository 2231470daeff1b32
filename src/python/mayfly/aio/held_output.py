"""An output under a claim, as users of asyncio read it: a method can be awaited."""

from __future__ import annotations

from mayfly import calls
from mayfly.aio.held_payload import AsyncHeldPayload


class AsyncHeldOutput(AsyncHeldPayload):
    """An output under a claim, which is renewed. Of one task."""

    async def read(self) -> calls.Output:
        """The whole. PayloadTooLarge: larger than Settings.data_bytes_max; stream() it."""
        return await self._read()
