"""How many examples a property is tried with: a profile that tries fewer does so with every property."""

from hypothesis import settings


def many(count: int) -> settings:
    """So many, where the profile has Hypothesis' own hundred, and its part of them elsewhere."""
    return settings(max_examples=max(1, count * settings().max_examples // 100), deadline=None)
