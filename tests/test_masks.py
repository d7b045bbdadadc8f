"""No class that a login, a token or a key goes through shows it: all classes of the modules that handle them, as they are found."""

import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import pytest

import webhook.credentials
from tests.support.canary import has_any, marked
from webhook.core.secret import Secret
from webhook.credentials.keyring import AuthFile, Keyring

MODULES: Final = (
    *(f"webhook.credentials.{one.name}" for one in pkgutil.iter_modules(webhook.credentials.__path__)),
    "webhook.core.credential",
    "webhook.core.secret",
    "webhook.core.seal",
    "webhook.core.challenge",
    "webhook.access",
    "webhook.books",
    "webhook.certificates",
    "webhook.kube",
    "webhook.registry",
    "webhook.supply",
    "webhook.tls",
    "webhook.vault",
)


def classes() -> Iterator[type[Any]]:
    for name in MODULES:
        module = importlib.import_module(name)
        for _, one in inspect.getmembers(module, inspect.isclass):
            if one.__module__ == name:
                yield one


EVERY: Final = list(classes())
STRUCTS: Final = [one for one in EVERY if issubclass(one, msgspec.Struct)]
OTHERS: Final = [one for one in EVERY if not issubclass(one, msgspec.Struct)]
SHOWN: Final[Mapping[str, set[str]]] = {
    "acr._Entra": {"tenant"},
    "access.Access": {"host"},
    "certificates.Held": {"problems"},
    "challenge.Challenge": {"scheme", "realm", "service"},
    "challenge.NeedToken": {"realm", "service", "scope"},
    "challenge.Request": {"method", "url", "purpose", "accept", "form"},
    "challenge.Trouble": {"detail"},
    "credential.Candidates": {"fingerprint"},
    "credential.Credential": {"kind"},
    "docker_config.UserConfig": {"store", "helpers", "problems"},
    "keyring._Pattern": {"labels", "port", "path"},
    "kube._ListMeta": {"continue_"},
    "kube._Status": {"message"},
    "pull_secrets._Metadata": {"resource_version"},
    "pull_secrets._Names": {"names"},
    "pull_secrets._Ring": {"version"},
    "pull_secrets._Secret": {"type"},
    "vault._Object": {"type"},
}
"""Fields that hold no secret and may be seen. What is not here, a new field, too, must not show itself."""
ELSEWHERE: Final = ("webhook.core.subject", "webhook.core.reference", "webhook.core.hosts", "webhook.core.globs")
"""What is asked for and of whom: there is no secret in it."""


def name_of(kind: type[Any]) -> str:
    return f"{kind.__module__.rpartition('.')[2]}.{kind.__qualname__}"


def filled(kind: Any, *, is_shown: bool) -> Any:
    """A value of a type with a text wherever one can be: a secret, unless it may be shown."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    text = "text" if is_shown else marked("text")
    if kind in {str, Any, object}:
        return text
    if kind in {bytes, msgspec.Raw}:
        return text.encode()
    if kind is Secret:
        return Secret(marked("secret"))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return whole(kind)
    if origin in {typing.Union, types.UnionType}:
        return filled(next(one for one in inner if one is not types.NoneType), is_shown=is_shown)
    if origin in {list, tuple, Sequence}:
        return (
            origin([filled(one, is_shown=is_shown) for one in inner if one is not ...])
            if origin is not Sequence
            else []
        )
    if origin in {dict, Mapping}:
        return {"key": filled(inner[1], is_shown=is_shown)}
    return None


def whole(kind: type[Any]) -> Any:
    """A value of a struct, filled."""
    hints = typing.get_type_hints(kind)
    shown = (
        {one.name for one in msgspec.structs.fields(kind)}
        if kind.__module__ in ELSEWHERE
        else SHOWN.get(name_of(kind), set())
    )
    return kind(
        **{one.name: filled(hints[one.name], is_shown=one.name in shown) for one in msgspec.structs.fields(kind)}
    )


@pytest.mark.parametrize("kind", STRUCTS, ids=name_of)
def test_a_value_shows_no_secret_that_it_holds(kind: type[Any]) -> None:
    made = whole(kind)
    assert not any(map(has_any, (repr(made), str(made), f"{made}", repr([made]))))


def test_what_may_be_shown_is_there() -> None:
    fields = {name_of(kind): {one.name for one in msgspec.structs.fields(kind)} for kind in STRUCTS}
    assert {name: shown - fields[name] for name, shown in SHOWN.items() if shown - fields[name]} == {}
    assert {"Credential", "Candidates", "Pair", "Stored", "Token", "Access"} <= {one.__name__ for one in STRUCTS}


RING: Final = {"auths": {"h.io": {"username": "u", "password": marked("x")}}}
MADE: Final[Mapping[str, Any]] = {
    "keyring.Keyring": Keyring.from_docker_config(RING),
    "keyring.AuthFile": AuthFile.from_auth_json(RING),
    "secret.Secret": Secret(marked("x")),
}


@pytest.mark.parametrize("kind", OTHERS, ids=name_of)
def test_other_classes_show_their_name_or_are_tried_here(kind: type[Any]) -> None:
    if inspect.getattr_static(kind, "__repr__") is not object.__repr__ and not issubclass(kind, Exception):
        assert not has_any(repr(MADE[name_of(kind)]))
