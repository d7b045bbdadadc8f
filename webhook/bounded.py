"""A bounded memory that may change its size at a reload."""

from typing import TypeVar

from cachetools import LRUCache

Key = TypeVar("Key")
Kept = TypeVar("Kept")


def of_size(cache: LRUCache[Key, Kept], entries: int) -> LRUCache[Key, Kept]:
    """The contents in a cache of this size, in their order of use; those that were used last stay."""
    if entries == cache.maxsize:
        return cache
    moved: LRUCache[Key, Kept] = LRUCache(entries)
    while cache:
        # The one that was used least comes first, and so falls out first.
        key, value = cache.popitem()
        moved[key] = value
    return moved
