"""What is installed in a cluster: the configuration that its webhook uses, and the variables that fill it."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol, TypeVar

import msgspec

from webhook.config import BadConfiguration, Loaded, load
from webhook.core.broken import UNREADABLE
from webhook.core.registration import INSTALLED_IN, NAME
from webhook.kube import Answer, named, said
from webhook.variables import PREFIX

FILE: Final = "moorage.yaml"
"""The key of the ConfigMap that holds the configuration; files that it names stand beside it."""
DEFAULTS: Final = f"{NAME}-defaults"
"""The ConfigMap that an install brings along: each of its keys is in force where the ConfigMap of the operator has none."""
WITHIN: Final = 10.0
CONFIG_MAP: Final = f"configmap {NAME} in {INSTALLED_IN}"

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
"""A key that may become a file's name."""
_CONFIG_MAPS: Final = ("api", "v1", "namespaces", INSTALLED_IN, "configmaps")
_CONFIG_MAP_PATH: Final = named(*_CONFIG_MAPS, NAME)
_DEFAULTS_PATH: Final = named(*_CONFIG_MAPS, DEFAULTS)
_DEPLOYMENT_PATH: Final = named("apis", "apps", "v1", "namespaces", INSTALLED_IN, "deployments", NAME)


Shape = TypeVar("Shape")


class Api(Protocol):
    """Who asks the API server: `webhook.kube.Kube`."""

    async def get(self, path: str, *, deadline: float) -> Answer:
        """Read by the absolute loop time `deadline`."""


class NotInstalled(RuntimeError):
    """There is no configuration; says what was looked for. `was_asked` is false where the API server did not say."""

    def __init__(self, message: str, *, was_asked: bool) -> None:
        super().__init__(message)
        self.was_asked = was_asked


class Installed(msgspec.Struct, frozen=True):
    """The texts of the files by name, the variables as they stand in the environment, and what could not be found out.
    `missing` says why the configuration is the one that the install brings along, empty where it is the operator's."""

    files: Mapping[str, str]
    environ: Mapping[str, str]
    unknown: tuple[str, ...] = ()
    missing: str = ""


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] | None = None


class _Variable(msgspec.Struct, rename="camel"):
    name: str
    value: str = ""
    value_from: Any = None


class _Container(msgspec.Struct):
    name: str = ""
    env: list[_Variable] | None = None


class _PodSpec(msgspec.Struct):
    containers: list[_Container] = []


class _Template(msgspec.Struct):
    spec: _PodSpec


class _Spec(msgspec.Struct):
    template: _Template


class _Deployment(msgspec.Struct):
    spec: _Spec


async def read(api: Api) -> Installed:
    """The configuration that is installed.

    Raises:
        NotInstalled: there is none, or it cannot be read.
    """
    deadline = asyncio.get_running_loop().time() + WITHIN
    answer = await api.get(_CONFIG_MAP_PATH, deadline=deadline)
    if not answer.is_good and answer.status != 404:
        raise NotInstalled(f"{CONFIG_MAP}: {said(answer)}", was_asked=False)
    files, missing = _files(answer), ""
    if FILE not in files:
        missing = f"{CONFIG_MAP} has no key {FILE}" if answer.is_good else f"there is no {CONFIG_MAP}"
        files = {**_files(await api.get(_DEFAULTS_PATH, deadline=deadline)), **files}
    if FILE not in files:
        why = missing if answer.is_good else f"Moorage is not installed there: no {CONFIG_MAP}"
        raise NotInstalled(why, was_asked=True)
    answer = await api.get(_DEPLOYMENT_PATH, deadline=deadline)
    if not answer.is_good:
        unknown = f"variables from the environment of deployment {NAME}: {said(answer)}"
        return Installed(files, {}, (unknown,), missing)
    containers = _decoded(answer, _Deployment).spec.template.spec.containers
    own = next((one for one in containers if one.name == NAME), containers[0] if containers else _Container())
    variables = [one for one in own.env or () if one.name.startswith(PREFIX)]
    elsewhere = [one.name for one in variables if one.value_from is not None]
    return Installed(
        files,
        {one.name: one.value for one in variables if one.value_from is None},
        tuple(f"{one}: deployment {NAME} takes its value from elsewhere; --set gives one" for one in elsewhere),
        missing,
    )


def _files(answer: Answer) -> dict[str, str]:
    """The files in a ConfigMap; none where there is none."""
    data = _decoded(answer, _ConfigMap).data or {} if answer.is_good else {}
    return {name: text for name, text in data.items() if _NAME.fullmatch(name)}


@contextmanager
def laid_out(
    there: Installed, *, rules: Sequence[str] = (), variables: Mapping[str, str] | None = None, with_lock: bool = True
) -> Iterator[Loaded]:
    """The configuration, loaded from its files, which are there for as long as the block lasts; `--rule` and `--set` go
    over it. Mistakes and warnings are told as of the ConfigMap.

    Raises:
        BadConfiguration: it cannot be used.
    """
    with TemporaryDirectory(prefix="moorage-") as name:
        # Files that the configuration names are looked for beside it, and nowhere else on this machine.
        folder = Path(name)
        for file, text in there.files.items():
            (folder / file).write_text(text, encoding="utf-8")
        here, told = f"{folder}/", f"{CONFIG_MAP}: "
        try:
            loaded = load(
                folder / FILE, environ=there.environ, rules=rules, variables=variables or {}, with_lock=with_lock
            )
        except BadConfiguration as bad:
            problems = [msgspec.structs.replace(one, file=one.file.replace(here, told)) for one in bad.problems]
            raise BadConfiguration(problems) from None
        warnings = tuple(one.replace(here, told) for one in loaded.warnings)
        yield msgspec.structs.replace(loaded, path=Path(CONFIG_MAP), warnings=warnings)


def _decoded(answer: Answer, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except UNREADABLE:
        raise NotInstalled("the API server answers something else than was asked for", was_asked=False) from None
