"""Remembers results up to a weight, so that strangers who send ever new things cannot fill memory with them."""

from typing import Final, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Memo(Generic[Key, Value]):
    """Begins anew when it is full: each thing is then found out once more, and looking up costs what a dict costs.

    `limit` is the weight that it holds at most, in the unit of `keep`. What weighs more than an eighth of that is not
    kept: one thing must not push out all others.
    """

    def __init__(self, limit: int) -> None:
        self._kept: dict[Key, Value] = {}
        self._weights: dict[Key, int] = {}
        self._limit: Final = limit
        self._weight = 0
        self.get: Final = self._kept.get
        """The result for a key, None when it is not kept."""

    def keep(self, key: Key, value: Value, weight: int) -> None:
        """Keep a result, in place of what its key gave before."""
        self._kept.pop(key, None)
        self._weight -= self._weights.pop(key, 0)
        if weight * 8 > self._limit:
            return
        if self._weight + weight > self._limit:
            self.clear()
        self._kept[key] = value
        self._weights[key] = weight
        self._weight += weight

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._weights.clear()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._kept)
