"""Places that sources share: whoever is alone may have them all, and when there are no more, who holds most gives way."""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

Holder = TypeVar("Holder")


def newest(holders: Sequence[Holder]) -> Holder:
    """Who came last: he is farthest from his answer."""
    return holders[-1]


class Places(Generic[Holder]):
    """So many places, or bytes of room. A source is where holders come from: any text.

    No share is fixed, as nobody can say how many sources there are, nor how many places the only one needs. But a source
    that asks for less than the others hold always gets one: of n sources each is sure of the n-th part. `gives_way` picks
    among holders of one source, in the order of their coming, who has to go.
    """

    def __init__(self, count: int, gives_way: Callable[[Sequence[Holder]], Holder] = newest) -> None:
        self._count: Final = count
        self._gives_way: Final = gives_way
        self._taken = 0
        self._held: dict[str, dict[Holder, int]] = {}
        self._sums: dict[str, int] = {}

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken

    def take(self, holder: Holder, source: str, size: int = 1) -> list[Holder]:
        """Who has to go so that this holder gets so many, or so many more: holders of the source that has most, or of his
        own, he among them, where his own would then have as many. They leave without being told so again."""
        gone: list[Holder] = []
        while self._taken + size > self._count:
            greediest = max(self._sums, key=self._sums.__getitem__, default=source)
            if self._sums.get(greediest, 0) > self._sums.get(source, 0) + size:
                one = self._gives_way(list(self._held[greediest]))
            else:
                greediest = source
                one = self._gives_way([*(each for each in self._held.get(source, ()) if each is not holder), holder])
            self.leave(one, greediest)
            gone.append(one)
            if one is holder:
                return gone
        mine = self._held.setdefault(source, {})
        mine[holder] = mine.get(holder, 0) + size
        self._sums[source] = self._sums.get(source, 0) + size
        self._taken += size
        return gone

    def leave(self, holder: Holder, source: str) -> None:
        """What it has is free; nothing happens where it has nothing."""
        mine = self._held.get(source, {})
        size = mine.pop(holder, 0)
        if not size:
            return
        self._taken -= size
        self._sums[source] -= size
        if not mine:
            del self._held[source], self._sums[source]
