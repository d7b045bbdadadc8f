"""Patterns of the configuration: `*` within one part, `**` over parts, a leading `!` excludes and wins."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Self

import msgspec

_TOKEN = re.compile(r"/\*\*/|\*\*/|/\*\*|\*\*|\*|\?|[^*?/]+|/")
_EXPRESSION = {
    "/**/": "/(?:[^/]+/)*",
    "**/": "(?:[^/]+/)*",
    "/**": "(?:/[^/]+)+",
    "**": ".*",
    "*": "[^/]*",
    "?": "[^/]",
    "/": "/",
}


class Globs(msgspec.Struct, frozen=True):
    """A list of patterns. With only exclusions everything else matches; `is_everything` follows from the patterns."""

    patterns: tuple[str, ...]
    is_everything: bool = False

    def __post_init__(self) -> None:
        everything = all(pattern in {"*", "**"} for pattern in self.patterns)
        msgspec.structs.force_setattr(self, "is_everything", everything)

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        """From the list as it stands in the configuration."""
        return cls(tuple(patterns))

    def matches(self, text: str) -> bool:
        """Whether some pattern includes the text and none excludes it."""
        if self.is_everything:
            return True
        include, exclude = _compiled(self.patterns)
        return (include is None or include.fullmatch(text) is not None) and (
            exclude is None or exclude.fullmatch(text) is None
        )


@lru_cache(maxsize=4096)
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    included = [pattern for pattern in patterns if not pattern.startswith("!")]
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return _either(included), _either(excluded)


def _either(patterns: list[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns), re.ASCII | re.DOTALL)


def _expression(pattern: str) -> str:
    return "".join(_EXPRESSION.get(token) or re.escape(token) for token in _TOKEN.findall(pattern))
