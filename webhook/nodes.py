"""YAML text to nodes, quickly and within bounds.

PyYAML composes in C and resolves in Python. Here plain scalars are left unresolved until someone asks what they are,
which is what the configuration wants anyway, and depth is counted on the way: libyaml's composer recurses in C and
ends the process on a few hundred thousand brackets.
"""

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, TypeVar

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

try:
    from yaml._yaml import CParser
except ImportError:  # PyYAML built without libyaml: slower, and the same in all else
    CParser = None  # type: ignore[assignment,misc]

MAX_DEPTH: Final = 100
MAX_REPEATED: Final = 250_000
"""Values of one document that aliases and merge keys repeat: a few lines can ask for billions."""
PLAIN: Final = "plain"
"""The tag of a scalar that is written without quotes and without a tag of its own."""

Pairs = list[tuple[Node, Node]]

_STANDARD: Final = "tag:yaml.org,2002:"
_MERGE: Final = f"{_STANDARD}merge"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TEXT: Final = f"{_STANDARD}str"
_RESOLVER: Final = Resolver()
_FIRST: Final = frozenset(Resolver.yaml_implicit_resolvers)
"""What a plain scalar that is no text can begin with."""
_CONSTRUCTOR: Final = SafeConstructor()


class BadDocument(ValueError):
    """A document that cannot be read; says where and why. Line and column count from 1."""

    def __init__(self, file: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.file = file
        self.line = line
        self.column = column
        self.message = message


class _Bounded:
    """What a composer asks about tags and depth."""

    depth = 0

    def descend_resolver(self, parent: Node | None, _index: Any) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = parent.start_mark if parent is not None else None
            raise yaml.MarkedYAMLError(problem="the document is nested too deeply", problem_mark=mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def resolve(self, kind: type[Node], _value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return PLAIN if implicit[0] else _TEXT
        return f"{_STANDARD}{'seq' if kind is SequenceNode else 'map'}"


if CParser is not None:

    class _Loader(_Bounded, CParser):
        """libyaml's composer."""

else:

    class _Loader(_Bounded, Reader, Scanner, Parser, Composer):  # type: ignore[no-redef]
        """Python's composer."""

        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)


def compose(text: str) -> Node | None:
    """The nodes of one document; None when it is empty.

    Raises:
        yaml.YAMLError: it is no YAML, or nested too deeply.
    """
    with collector_paused():
        root: Node | None = _Loader(text).get_single_node()
    is_empty = isinstance(root, ScalarNode) and root.tag == PLAIN and not root.value
    return None if is_empty else root


@contextmanager
def collector_paused() -> Iterator[None]:
    """For the time in which a large tree is made."""
    # All that composing makes stays alive, and the collector walks it again and again: 2.6 s instead of 0.7 s for 5 MB.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def is_merge(key: Node) -> bool:
    """Whether this key merges another mapping in (`<<`)."""
    return key.tag == _MERGE or (key.tag == PLAIN and key.value == "<<")


def is_null(node: ScalarNode) -> bool:
    """Whether the scalar says that there is no value."""
    return node.tag == f"{_STANDARD}null" or (node.tag == PLAIN and node.value in _NULLS)


def is_text_when_plain(text: str) -> bool:
    """Whether these characters, written without quotes, are a text and not a number, a date or a truth value."""
    return _resolved(text) == _TEXT


@lru_cache(maxsize=8192)
def _resolved(text: str) -> str:
    if text and text[0] not in _FIRST:
        return _TEXT
    tag: str = _RESOLVER.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # as the stubs have it
    return tag


def scalar(node: ScalarNode) -> Any:
    """The value of a scalar as YAML 1.1 reads it; dates and what does not come out stay text."""
    tag = node.tag if node.tag != PLAIN else _resolved(node.value)
    if tag == _TEXT:
        return node.value
    kind = tag.removeprefix(_STANDARD)
    if kind == "null":
        return None
    if kind not in {"bool", "int", "float"}:
        return node.value
    try:
        return getattr(_CONSTRUCTOR, f"construct_yaml_{kind}")(ScalarNode(tag, node.value))
    except (ArithmeticError, LookupError, ValueError):
        return node.value


def pairs(node: MappingNode, merged: dict[int, Pairs]) -> Pairs:
    """Key and value nodes of a mapping, merge keys resolved: what stands here goes before what is merged in.

    `merged` remembers what came out, so that a mapping that is merged in a thousand times is looked through once.
    """
    if not any(is_merge(key) for key, _ in node.value):
        found: Pairs = node.value
        return found
    known = merged.get(id(node))
    if known is not None:
        return known
    merged[id(node)] = []  # what merges itself in adds nothing
    every = {key.value: (key, value) for key, value in reversed(node.value) if not is_merge(key) and _is_text(key)}
    own = [(key, value) for key, value in node.value if not is_merge(key)]
    for _, value in [pair for pair in node.value if is_merge(pair[0])]:
        for one in value.value if isinstance(value, SequenceNode) else [value]:
            for inner in pairs(one, merged) if isinstance(one, MappingNode) else ():
                if _is_text(inner[0]) and inner[0].value not in every:
                    every[inner[0].value] = inner
                    own.append(inner)
    merged[id(node)] = own
    return own


def _is_text(key: Node) -> bool:
    return isinstance(key, ScalarNode)


Parsed = TypeVar("Parsed")
_SURROGATE: Final = re.compile(r"(?<!\\)(?P<pairs>(?:\\\\)*)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_UNKNOWN: Final = r"\g<pairs>\\ufffd"
"""JSON writes what is beyond the BMP as two escapes that YAML does not know. No name of an image holds any, so they are
read as a sign of the same length, which moves nothing from its place."""


def past_surrogates(read: Callable[[str], Parsed], text: str) -> Parsed:
    """What `read` makes of a text. JSON may hold halves of characters, which YAML refuses: they are then taken for unknown
    ones, as long as they were, so that all places stay."""
    try:
        return read(text)
    except yaml.MarkedYAMLError as wrong:
        if "Unicode character escape" not in str(wrong.problem):
            raise
        return read(_SURROGATE.sub(_UNKNOWN, text))
