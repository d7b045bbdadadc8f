"""Places that sources share: whoever is alone may have them all, and when there are no more, who holds most gives way."""

from typing import Final, Generic, TypeVar

Holder = TypeVar("Holder")


class Places(Generic[Holder]):
    """So many places. A source is where holders come from: any text.

    No share is fixed, as nobody can say how many sources there are, nor how many places the only one needs. But a source
    that asks for less than the others hold always gets one: of n sources each is sure of the n-th part.
    """

    def __init__(self, count: int) -> None:
        self._count: Final = count
        self._taken = 0
        self._held: dict[str, dict[Holder, None]] = {}

    def take(self, holder: Holder, source: str) -> Holder | None:
        """Who has to go for this holder, if anybody has to: the newest of the source that holds most, or the holder
        itself, where its own source would then hold as many. It leaves without being told so again."""
        mine = self._held.get(source, {})
        gone: Holder | None = None
        if self._taken >= self._count:
            greediest = max(self._held, key=lambda one: len(self._held[one]), default=source)
            most = self._held.get(greediest, {})
            if len(most) <= len(mine) + 1:
                return holder
            gone = next(reversed(most))
            self.leave(gone, greediest)
        self._held.setdefault(source, {})[holder] = None
        self._taken += 1
        return gone

    def leave(self, holder: Holder, source: str) -> None:
        """Its place is free; nothing happens where it has none."""
        mine = self._held.get(source, {})
        if holder not in mine:
            return
        del mine[holder]
        self._taken -= 1
        if not mine:
            del self._held[source]
