"""The kinds that make Pods: what people call them, and where the API server keeps them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec


class Resource(msgspec.Struct, frozen=True):
    """A kind of namespaced object, in one version. `short` are its short names."""

    kind: str
    group: str
    version: str
    plural: str
    short: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How the API server names it in what it says: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def word(self) -> str:
        """How people name one object of it, before the slash."""
        return self.kind.lower()

    @property
    def api_version(self) -> str:
        """As it stands in manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """As `templates:` of the configuration names it."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    def folder(self, namespace: str = "") -> str:
        """The path of its objects at the API server, in one namespace or in all."""
        start = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return (
            f"{start}/namespaces/{quote(namespace, safe='')}/{self.plural}" if namespace else f"{start}/{self.plural}"
        )

    def is_called(self, word: str) -> bool:
        """Whether a word means this kind, as kubectl reads it: `deploy`, `Deployment`, `deployments.apps`,
        `deployments.v1.apps`."""
        name, _, rest = word.lower().partition(".")
        ends = ("", self.group, f"{self.version}.{self.group}".rstrip("."))
        return name in {self.plural, self.word, *self.short} and rest in ends


POD: Final = Resource("Pod", "", "v1", "pods", ("po",))
POD_TEMPLATE: Final = Resource("PodTemplate", "", "v1", "podtemplates")
REPLICA_SET: Final = Resource("ReplicaSet", "apps", "v1", "replicasets", ("rs",))
CONTROLLER_REVISION: Final = Resource("ControllerRevision", "apps", "v1", "controllerrevisions")
KINDS: Final = (
    Resource("Deployment", "apps", "v1", "deployments", ("deploy",)),
    Resource("StatefulSet", "apps", "v1", "statefulsets", ("sts",)),
    Resource("DaemonSet", "apps", "v1", "daemonsets", ("ds",)),
    Resource("CronJob", "batch", "v1", "cronjobs", ("cj",)),
    Resource("Job", "batch", "v1", "jobs"),
    REPLICA_SET,
    Resource("ReplicationController", "", "v1", "replicationcontrollers", ("rc",)),
    POD,
    POD_TEMPLATE,
)
"""Those of Kubernetes itself, as `kubectl api-resources` lists them, in the order in which they are shown."""


class BadWords(ValueError):
    """Words that name no objects; says what kubectl would say."""


class Named(msgspec.Struct, frozen=True):
    """Objects of one kind: those of these names, all of them without."""

    resource: Resource
    names: tuple[str, ...] = ()


def guessed(keys: Iterable[str]) -> tuple[Resource, ...]:
    """Kinds of other groups (`Rollout.argoproj.io`) as far as they are known before the API server is asked: without a
    version, and the plural is a guess."""
    known = {one.key for one in KINDS}
    split = [key.partition(".") for key in keys if key not in known]
    return tuple(Resource(kind, group, "", f"{kind.lower()}s") for kind, _, group in split)


def are_objects(words: Iterable[str], resources: Iterable[Resource]) -> bool:
    """Whether words name live objects, by the looks of the first: `deploy/app`, `deploy`, `deploy,sts`."""
    first = next(iter(words), "")
    known = tuple(resources)
    kinds = [first.partition("/")[0]] if "/" in first else first.split(",")
    return all(any(one.is_called(kind) for one in known) for kind in kinds)


def read(words: Iterable[str], resources: Iterable[Resource]) -> tuple[Named, ...]:
    """What words name, as kubectl reads them: `KIND/NAME …`, or `KIND[,KIND] [NAME …]`.

    Raises:
        BadWords: they name nothing.
    """
    every, known = list(words), tuple(resources)
    slashed = [word for word in every if "/" in word]
    if slashed and len(slashed) < len(every):
        raise BadWords("write KIND/NAME for each, or KIND once and names after it")
    if slashed:
        pairs = [word.split("/") for word in every]
        wrong = next((word for word, pair in zip(every, pairs, strict=True) if len(pair) > 2 or not all(pair)), None)
        if wrong is not None:
            raise BadWords(f"{wrong}: write it as KIND/NAME")
        return tuple(Named(_called(kind, known), (name,)) for kind, name in pairs)
    kinds, *names = every
    return tuple(Named(_called(kind, known), tuple(names)) for kind in kinds.split(","))


def _called(word: str, known: Iterable[Resource]) -> Resource:
    found = next((one for one in known if one.is_called(word)), None)
    if found is None:
        raise BadWords(f'the server doesn\'t have a resource type "{word}"')
    return found


def resource_of(manifest: Mapping[str, Any], resources: Iterable[Resource]) -> Resource | None:
    """The kind of an object; None where it is none of these."""
    kind, version = str(manifest.get("kind", "")), str(manifest.get("apiVersion", ""))
    group = version.rpartition("/")[0]
    return next((one for one in resources if one.kind == kind and one.group == group), None)
