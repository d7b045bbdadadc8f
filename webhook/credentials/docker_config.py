"""Finds and reads what a person logged in with: docker's or podman's file. For the command line only."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from webhook.core.credential import Credential
from webhook.core.reference import DOCKER_HUB, Reference
from webhook.core.subject import Audience
from webhook.credentials.helpers import HelperFailed, Helpers
from webhook.credentials.keyring import HUB_KEY, AuthFile, BadDockerConfig, Keyring, decode, read_auths
from webhook.reading import content

USER_KIND: Final = "docker-config"
_HUB_SERVER: Final = f"https://{HUB_KEY}/v1/"
_HUB_PLACES: Final = (_HUB_SERVER, HUB_KEY, DOCKER_HUB, f"https://{HUB_KEY}", f"https://{DOCKER_HUB}")


class NoDockerConfig(ValueError):
    """The docker config that the user named cannot be used; says which and why."""


class UserConfig(msgspec.Struct, frozen=True):
    """A person's file as it was read. `store` and `helpers` (by server) name credential helpers."""

    path: Path
    logins: Keyring | AuthFile
    store: str = ""
    helpers: Mapping[str, str] = {}
    problems: tuple[str, ...] = ()

    @property
    def holds_any(self) -> bool:
        """Whether a login can come from it."""
        return bool(self.logins) or bool(self.store) or bool(self.helpers)

    def helper_for(self, registry: str) -> str:
        """The helper that answers for a registry host, empty when none does."""
        places = _HUB_PLACES if registry == DOCKER_HUB else (registry, f"https://{registry}")
        return next((self.helpers[place] for place in places if place in self.helpers), self.store)


def find(environ: Mapping[str, str], *, chosen: Path | None = None) -> UserConfig | None:
    """The person's file: the one they name, else the first usual one that holds a login.

    Raises:
        NoDockerConfig: the named file cannot be read.
    """
    if chosen is not None:
        path = chosen / "config.json" if chosen.is_dir() else chosen
        try:
            return _read(path, podman=False)
        except OSError as failed:
            raise NoDockerConfig(f"{path}: cannot be read ({failed.strerror})") from None
        except BadDockerConfig as bad:
            raise NoDockerConfig(f"{path}: {bad}") from None
    broken: list[str] = []
    for path, podman in _usual_places(environ):
        try:
            config = _read(path, podman=podman)
        except OSError:
            continue
        except BadDockerConfig as bad:
            broken.append(f"{bad}: {path}")
            continue
        if config.holds_any or config.problems:
            return msgspec.structs.replace(config, problems=(*broken, *config.problems))
    return UserConfig(Path(), Keyring(()), problems=tuple(broken)) if broken else None


def _usual_places(environ: Mapping[str, str]) -> Iterator[tuple[Path, bool]]:
    """The files that docker and podman look at, in the order of google/go-containerregistry; True for podman's."""
    home = environ.get("HOME")
    if folder := environ.get("DOCKER_CONFIG"):
        yield (Path(folder) if Path(folder).is_file() else Path(folder, "config.json")), False
    elif home:
        yield Path(home, ".docker", "config.json"), False
    if file := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(file), True
    for variable in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        if folder := environ.get(variable):
            yield Path(folder, "containers", "auth.json"), True
    if home:
        yield Path(home, ".config", "containers", "auth.json"), True
        yield Path(home, ".dockercfg"), False


def _read(path: Path, *, podman: bool) -> UserConfig:
    config = decode(content(path))
    entries, problems = read_auths(config, kind=USER_KIND)
    logins = AuthFile(entries) if podman else Keyring(entries)
    store = config.get("credsStore")
    helpers = config.get("credHelpers")
    return UserConfig(
        path,
        logins,
        store if isinstance(store, str) else "",
        {place: name for place, name in _items(helpers) if isinstance(name, str) and name},
        tuple(f"{path}: {problem}" for problem in problems),
    )


def _items(value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()


class UserLogins:
    """Stands in for a Pod's own credentials on a laptop: what the person is logged in with, helpers first."""

    def __init__(self, config: UserConfig | None, helpers: Helpers) -> None:
        self._config = config
        self._helpers = helpers
        self._asked: dict[str, asyncio.Task[tuple[Credential, ...]]] = {}
        self._problems = list(config.problems) if config is not None else []

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the file, and helpers that failed."""
        return tuple(self._problems)

    def peek(self, image: Reference, audience: Audience) -> tuple[Credential, ...] | None:
        """What the file holds; None while the helper of this registry has not answered yet."""
        del audience
        if self._config is None:
            return ()
        filed = self._config.logins.lookup(image.repository)
        if not self._config.helper_for(image.registry):
            return filed
        asked = self._asked.get(image.registry)
        return (*asked.result(), *filed) if asked is not None and asked.done() else None

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> tuple[Credential, ...]:
        """The same, once the helper has answered. It is asked once per registry, for all images together."""
        known = self.peek(image, audience)
        if known is not None or self._config is None:
            return known or ()
        asked = self._asked.get(image.registry)
        if asked is None:
            asked = self._asked[image.registry] = asyncio.ensure_future(self._from_helper(self._config, image.registry))
        # The helper goes on when this image can wait no longer: the next one gets its answer.
        done, _ = await asyncio.wait({asked}, timeout=deadline - asyncio.get_running_loop().time())
        return (*(asked.result() if done else ()), *self._config.logins.lookup(image.repository))

    async def _from_helper(self, config: UserConfig, registry: str) -> tuple[Credential, ...]:
        server = _HUB_SERVER if registry == DOCKER_HUB else registry
        try:
            found = await self._helpers.ask(config.helper_for(registry), server)
        except HelperFailed as failed:
            self._problems.append(f"no login for {registry} from its credential helper: {failed}")
            return ()
        return () if found is None else (found,)
