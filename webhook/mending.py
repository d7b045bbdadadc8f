"""Reads settings as far as they can be read: what is wrong is told, taken out, and the rest read again.

So one mistake never hides another of a different sort, however deep the two stand.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, get_args

import msgspec
from pydantic import BaseModel, ValidationError

from webhook.settings import API_VERSION, KIND, Configuration, duration
from webhook.trouble import Findings, did_you_mean, pointer_to

STAND_IN: Final = "stand-in"
ROUNDS: Final = 4

Location = Sequence[str | int]

_MESSAGES: Final = {
    "missing": "this key is missing",
    "string_type": "a text is wanted",
    "tuple_type": "a list is wanted",
    "dict_type": "a mapping is wanted",
    "model_type": "a mapping is wanted",
    "int_parsing": "a whole number is wanted",
    "int_type": "a whole number is wanted",
    "int_from_float": "a whole number is wanted",
    "bool_parsing": "true or false is wanted",
    "bool_type": "true or false is wanted",
    "string_pattern_mismatch": "at most 63 letters, digits and . _ - may stand here, letters or digits at the ends",
}
_BOUNDS: Final = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


class Numbered(list[Any]):
    """A list whose items keep the number that they had in the file when others are taken out."""

    def __init__(self, items: Sequence[Any], numbers: Sequence[int]) -> None:
        super().__init__(items)
        self.numbers = list(numbers)

    @classmethod
    def of(cls, items: list[Any]) -> "Numbered":
        """A copy, with the numbers that the items have now."""
        return cls(items, items.numbers if isinstance(items, Numbered) else range(len(items)))


class Mended(msgspec.Struct):
    """Settings without what was wrong in them, and where they came from."""

    settings: Configuration | None
    raw: Any
    broken: frozenset[str]

    def in_file(self, parts: Location) -> list[str | int]:
        """The way in the file to what stands here in `settings`."""
        return _in_file(self.raw, parts)


def mended(raw: dict[str, Any], findings: Findings) -> Mended:
    """Read the settings; what is wrong goes to `findings`, with pointers into the file."""
    broken: set[str] = set()
    for _ in range(ROUNDS):
        try:
            return Mended(Configuration.model_validate(raw), raw, frozenset(broken))
        except ValidationError as wrong:
            errors = wrong.errors(include_url=False)
            for error in errors:
                location = _location(raw, error["loc"])
                pointer = pointer_to(*_in_file(raw, location))
                if pointer not in broken:
                    findings.refuse(pointer, _message(error, location), of_key=error["type"] == "extra_forbidden")
                broken.add(pointer)
            own: _Own = {}
            # From the back, so that taking one out moves none that is still to come.
            for location in sorted({tuple(_location(raw, error["loc"])) for error in errors}, key=_order, reverse=True):
                raw = _without(raw, location, own)
    return Mended(None, raw, frozenset(broken))


def _order(location: Location) -> list[tuple[int, int, str]]:
    return [(0, part, "") if isinstance(part, int) else (1, 0, part) for part in location]


def _location(raw: Any, given: Location) -> Location:
    """Where in the file a mistake stands: short spellings have been made long before they were checked."""
    for depth, part in enumerate(given):
        if isinstance(raw, str):
            return given[:depth]
        if isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
        else:
            raw = raw.get(part) if isinstance(raw, dict) else None
    return given


def _in_file(raw: Any, parts: Location) -> list[str | int]:
    way: list[str | int] = []
    for part in parts:
        if isinstance(raw, list) and str(part).lstrip("-").isdigit():
            number = int(part)
            way.append(raw.numbers[number] if isinstance(raw, Numbered) and number < len(raw) else number)
            raw = raw[number] if number < len(raw) else None
        else:
            way.append(part)
            raw = raw.get(part) if isinstance(raw, dict) else None
    return way


_Own = dict[int, Any]
"""By their identity what has been copied already, so that a mapping of thousands of mistakes is copied once."""


def _without(raw: Any, location: Location, own: _Own) -> Any:
    """A copy in which a stand-in takes the place of what must be there, and all else at this location is gone."""
    return _replaced(raw, list(location), _stand_in(location), own)


def _copied(raw: Any, own: _Own) -> Any:
    if id(raw) in own:
        return raw
    copy = dict(raw) if isinstance(raw, dict) else Numbered.of(raw)
    own[id(copy)] = copy
    return copy


def _replaced(raw: Any, location: list[str | int], value: Any, own: _Own) -> Any:
    first, *rest = location
    if isinstance(raw, dict):
        copy = _copied(raw, own)
        if rest:
            copy[str(first)] = _replaced(copy.get(str(first)), rest, value, own)
        elif value is None:
            copy.pop(str(first), None)
        else:
            copy[str(first)] = value
        return copy
    if isinstance(raw, list) and isinstance(first, int) and first < len(raw):
        items = _copied(raw, own)
        if rest:
            items[first] = _replaced(items[first], rest, value, own)
        elif value is None:
            del items[first], items.numbers[first]
        else:
            items[first] = value
        return items
    return raw


_ANY: Final = "*"
_STAND_INS: Final[tuple[tuple[tuple[str, ...], Any], ...]] = (
    (("apiVersion",), API_VERSION),
    (("kind",), KIND),
    (("rules",), []),
    (("rules", _ANY, "images"), ["registry.invalid/**"]),
    (("rules", _ANY, "images", _ANY), "registry.invalid/**"),
    (("rules", _ANY, "upstream", _ANY), "{registry}"),
    (("rules", _ANY, "podSelector", "matchExpressions", _ANY, "key"), STAND_IN),
    (("rules", _ANY, "podSelector", "matchExpressions", _ANY, "operator"), "Exists"),
    (("rules", _ANY, "namespaceSelector", "matchExpressions", _ANY, "key"), STAND_IN),
    (("rules", _ANY, "namespaceSelector", "matchExpressions", _ANY, "operator"), "Exists"),
    (("rules", _ANY, "name"), f"{STAND_IN}-{{0}}"),
    (("targets", _ANY, "image"), f"{STAND_IN}.invalid/{{0}}/{{{{path}}}}"),
    (("vars", _ANY), f"{STAND_IN}.invalid"),
    (("registries", _ANY, "credentials", _ANY, "kind"), "anonymous"),
    (("registries", _ANY, "credentials", _ANY, "file"), STAND_IN),
)
"""What is read in place of something that must be there. `{0}` is the number or name, so that none is there twice."""


def _stand_in(location: Location) -> Any:
    """None where what is wrong may as well be gone."""
    for form, value in _STAND_INS:
        if len(form) == len(location) and all(one in {_ANY, part} for one, part in zip(form, location, strict=True)):
            return value.format(location[1]) if isinstance(value, str) and "{0}" in value else value
    return None


def _message(error: Any, location: Location) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(str(location[-1]), keys_at(location[:-1]))}"
    if kind == "literal_error":
        allowed = list(error["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", "))
        hint = did_you_mean(str(error["input"]), allowed) if len(allowed) > 1 else ""
        return f"{_listed(allowed)} is wanted{hint}"
    if kind == "model_type" and location[:1] == ("vars",):
        return "a text, or a table {from: …, map: …} is wanted"
    if kind == "tuple_type" and isinstance(error["input"], str):
        return f"a list is wanted, as {msgspec.json.encode([error['input']]).decode()}"
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        bound = error["ctx"][key]
        is_duration = str(error["input"])[-1:] in set("smh")
        return f"{word} {duration(bound) if is_duration else bound} is wanted"
    text = str(error["msg"]).removeprefix("Value error, ")
    return _MESSAGES.get(kind) or text.replace("Input should be", "this should be")


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def keys_at(location: Location) -> list[str]:
    """The keys that the mapping at this place of the file may have."""
    kind: Any = Configuration
    for part in location:
        model = next(_models_in(kind), None)
        if model is None:
            return []
        if _is_of_models(kind):
            kind = model
            continue
        field = next((one for name, one in model.model_fields.items() if (one.alias or name) == part), None)
        if field is None:
            return []
        kind = field.annotation
    model = next(_models_in(kind), None)
    return [] if model is None else [field.alias or name for name, field in model.model_fields.items()]


def _is_of_models(kind: Any) -> bool:
    """Whether this is a list or a mapping of models, whose next part is a number or a name."""
    return getattr(kind, "__origin__", None) in {dict, tuple}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
