"""What each account of ours must be allowed to do, and what does not work where it is not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from webhook.core.registration import INSTALLED_IN, NAME
from webhook.diagnosis.finding import Check, Finding, Unseen, doubtful, few, fine, unseen, wrong

ADOPT: Final = "moorage-adopt"
CERTIFICATES: Final = "moorage-certs"
_APPLY: Final = "apply again what installed it: its roles are there"
_REGISTRATIONS: Final = "admissionregistration.k8s.io"
_LEASES: Final = "coordination.k8s.io"
_KEEPS: Final = "--tls-secret"


class Right(msgspec.Struct, frozen=True):
    """One verb on one resource; of one namespace and of one object where these are named. `without` says what does not
    work without it."""

    verb: str
    group: str
    resource: str
    without: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        what = f"{self.resource}{f'/{self.subresource}' if self.subresource else ''}"
        group = f".{self.group}" if self.group else ""
        name = f" {self.name}" if self.name else ""
        return f"{self.verb} {what}{group}{name}{f' in {self.namespace}' if self.namespace else ''}"

    @property
    def attributes(self) -> dict[str, str]:
        """As an access review wants it."""
        return {
            "verb": self.verb,
            "group": self.group,
            "resource": self.resource,
            "subresource": self.subresource,
            "namespace": self.namespace,
            "name": self.name,
        }


def _each(verbs: str, group: str, resource: str, without: str, **more: str) -> Iterator[Right]:
    for verb in verbs.split():
        yield Right(verb, group, resource, without, **more)


_OF_ROLLOUTS: Final = (("apps", "replicasets"), ("apps", "controllerrevisions"), ("batch", "jobs"))

_OF_SERVER: Final = (
    *_each("get", "", "namespaces", "rules with a namespaceSelector never match, and namespaces cannot opt out"),
    *_each("list", "", "namespaces", "less is learnt from running Pods after a restart"),
    *_each("list", "", "pods", "siblings do not decide where a rollout has no pin, and a restart forgets all digests"),
    *(
        right
        for group, resource in _OF_ROLLOUTS
        for right in _each("get", group, resource, f"pins of {resource} are not read: a rollout may run two builds")
    ),
)
_OF_KEEPER: Final = (
    *_each(
        "get patch",
        _REGISTRATIONS,
        "mutatingwebhookconfigurations",
        "caBundle and matchConditions are not kept right, and no gap is seen",
        name=NAME,
    ),
)
_OF_CERTIFICATES: Final = (
    *_each("create", "", "secrets", "no certificate is made at the first start", namespace=INSTALLED_IN),
    *_each(
        "get update",
        "",
        "secrets",
        "certificates are not shared and not renewed",
        namespace=INSTALLED_IN,
        name=CERTIFICATES,
    ),
    *_each("create", _LEASES, "leases", "nobody is elected to renew certificates", namespace=INSTALLED_IN),
    *_each(
        "get update",
        _LEASES,
        "leases",
        "nobody is elected to renew certificates",
        namespace=INSTALLED_IN,
        name=CERTIFICATES,
    ),
)
_OF_ADOPT: Final = (
    *_each("get", "", "namespaces", "rules with a namespaceSelector never match"),
    *_each("list", "", "pods", "nothing is seen of what rollouts run"),
    *(
        right
        for group, resource in _OF_ROLLOUTS
        for right in _each("list patch", group, resource, f"{resource} get no pin")
    ),
    *_each("create", "", "events", "nobody is told of pins that are gone"),
    *_each("create", _LEASES, "leases", "nobody tends pins", namespace=INSTALLED_IN),
    *_each("get update", _LEASES, "leases", "nobody tends pins", namespace=INSTALLED_IN, name=ADOPT),
)
WANTED: Final[Mapping[str, Sequence[Right]]] = {
    NAME: (*_OF_SERVER, *_OF_KEEPER, *_OF_CERTIFICATES),
    ADOPT: _OF_ADOPT,
}
"""By service account."""

OF_PERSON: Final = (
    *_each("get", _REGISTRATIONS, "mutatingwebhookconfigurations", "registration", name=NAME),
    *_each("list", _REGISTRATIONS, "mutatingwebhookconfigurations", "neighbours"),
    *_each("get", "", "configmaps", "configuration", namespace=INSTALLED_IN, name=NAME),
    *_each("get", "apps", "deployments", "install", namespace=INSTALLED_IN, name=NAME),
    *_each("list", "", "pods", "install, agents"),
    *_each("get", "", "pods", "version, configuration in force", namespace=INSTALLED_IN, subresource="proxy"),
    *_each("get", "", "services", "service", namespace=INSTALLED_IN, name=NAME),
    *_each("get", "", "services", "service", namespace=INSTALLED_IN, subresource="proxy"),
    *_each("list", "discovery.k8s.io", "endpointslices", "service", namespace=INSTALLED_IN),
    *_each("list", "", "namespaces", "namespaces"),
    *_each("create", "authorization.k8s.io", "subjectaccessreviews", "rights of the service accounts"),
    *_each("list", "", "services", "localhost"),
    *_each("list", "apps", "daemonsets", "agents"),
    *_each("list", "", "nodes", "agents"),
)
"""What doctor itself wants of whoever runs it; `without` names the lines that are missing then."""


def wanted(account: str, words: Sequence[str]) -> Sequence[Right]:
    """What an account uses when its container is started with these words; without any they are not known, and all
    counts. Who gets his certificate as a file keeps no Secret."""
    if account == NAME and words and not any(one.startswith(_KEEPS) for one in words):
        return (*_OF_SERVER, *_OF_KEEPER)
    return WANTED[account]


Answers = Mapping[Right, bool | Unseen]


def user_of(account: str) -> dict[str, object]:
    """A service account of ours, as an access review wants it."""
    every = "system:serviceaccounts"
    return {
        "user": f"system:serviceaccount:{INSTALLED_IN}:{account}",
        "groups": [every, f"{every}:{INSTALLED_IN}", "system:authenticated"],
    }


def judge(account: str, answers: Answers) -> Iterator[Finding]:
    """What a service account of ours may, a line for each thing that it may not."""
    looked = f"rights of service account {account} in {INSTALLED_IN}"
    unknown = [one for one in answers.values() if isinstance(one, Unseen)]
    if unknown:
        yield unseen(Check.RIGHTS, msgspec.structs.replace(unknown[0], what=looked))
        return
    missing = [right for right, allowed in answers.items() if not allowed]
    if len(missing) == len(answers):
        yield wrong(Check.RIGHTS, looked, "it has none of those that it uses: no role names it", _APPLY)
        return
    for right in missing:
        yield wrong(Check.RIGHTS, looked, f"it may not {right}: {right.without}", _APPLY)
    if not missing:
        yield fine(Check.RIGHTS, looked, f"it has all {len(answers)} that it uses")


def judge_person(answers: Answers) -> Finding:
    """What doctor could not look at for whoever runs it."""
    looked = "your own rights"
    missing = [right for right, allowed in answers.items() if allowed is False]
    unknown = [one for one in answers.values() if isinstance(one, Unseen)]
    if unknown:
        return unseen(Check.RIGHTS, msgspec.structs.replace(unknown[0], what=looked))
    if missing:
        lines = ", ".join(dict.fromkeys(right.without for right in missing))
        return doubtful(
            Check.RIGHTS,
            looked,
            f"you may not {few(map(str, missing), 20)}",
            f"run doctor as somebody who may: it says less about {lines}",
        )
    return fine(Check.RIGHTS, looked, f"you have all {len(answers)} that doctor uses")
