"""Claims that are held, and when each has to be renewed. No I/O, no clock, not thread-safe."""

from __future__ import annotations

from mayfly.calls import Claim


class Holdings:
    def __init__(self, lease_s: float) -> None:
        self._renew_after_s = lease_s / 3
        # In the order in which they are due, since all have the same lease.
        self._due: dict[tuple[str, int], tuple[float, Claim]] = {}

    def add(self, claim: Claim, now: float) -> None:
        self._due[claim.call_id, claim.fence] = now + self._renew_after_s, claim

    def remove(self, claim: Claim) -> None:
        self._due.pop((claim.call_id, claim.fence), None)

    def next_due(self) -> float | None:
        for due, _ in self._due.values():
            return due
        return None

    def take_due(self, now: float) -> list[Claim]:
        """Those to renew now; they are due again a while later."""
        claims = []
        for due, claim in self._due.values():
            if due > now:
                break
            claims.append(claim)
        for claim in claims:
            self.remove(claim)
            self.add(claim, now)
        return claims
