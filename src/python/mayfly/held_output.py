"""An output under a claim, as blocking programs read it: its data is an attribute."""

from __future__ import annotations

from mayfly import calls
from mayfly.held_payload import HeldPayload


class HeldOutput(HeldPayload):
    """An output under a claim, which is renewed. Of one thread."""

    @property
    def data(self) -> calls.Output:
        """The whole. PayloadTooLarge: larger than Settings.data_bytes_max; stream() it."""
        return self._read()
