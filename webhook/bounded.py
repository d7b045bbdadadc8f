"""A bounded memory that may change its size at a reload."""

from typing import Any, TypeVar

from cachetools import LRUCache

Cache = TypeVar("Cache", bound=LRUCache[Any, Any])


def of_size(cache: Cache, entries: int) -> Cache:
    """The contents in a cache of this size, in their order of use; those that were used last stay."""
    if entries == cache.maxsize:
        return cache
    moved = type(cache)(entries)
    while cache:
        # The one that was used least comes first, and so falls out first.
        key, value = cache.popitem()
        moved[key] = value
    return moved
