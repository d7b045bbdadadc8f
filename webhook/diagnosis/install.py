"""Whether Moorage runs: its Deployments, their Pods, what these have loaded, and of which version all of it is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from webhook.core.reference import Reference, parsed
from webhook.core.registration import INSTALLED_IN, NAME
from webhook.diagnosis import metrics
from webhook.diagnosis.finding import Check, Finding, Unseen, doubtful, few, fine, unseen, wrong
from webhook.diagnosis.shapes import Lease, Pod, Workload

ADOPT: Final = "moorage-adopt"
VERSION_LABEL: Final = "app.kubernetes.io/version"
APPLY: Final = "apply deploy/install.yaml with your image"
OPS: Final = 8080
"""The ops port, where the Pod names none."""
_OPS_NAMES: Final = ("ops", "metrics", "health")


class Told(msgspec.Struct, frozen=True):
    """What a Pod of ours says of itself: its metrics, the checks of /readyz that are not well, and the chain (PEM) that it
    shows."""

    metrics: str = ""
    not_ready: tuple[str, ...] = ()
    chain: str = ""

    @property
    def version(self) -> str:
        """What it runs."""
        return metrics.label(self.metrics, "moorage_build_info", "version")

    @property
    def hash(self) -> str:
        """Which configuration it has in force; empty where it does not say."""
        return metrics.label(self.metrics, "moorage_config_info", "hash")

    @property
    def is_loaded(self) -> bool:
        """Whether the configuration that it saw last is the one in force."""
        return metrics.value(self.metrics, "moorage_config_reload_success") != 0

    @property
    def has_newest(self) -> bool:
        """Whether the certificate that it found last is the one that it shows."""
        return metrics.value(self.metrics, "moorage_certificate_reload_success") != 0

    @property
    def keeps(self) -> bool:
        """Whether it keeps Secret and registration right, or leaves that to another one."""
        return metrics.value(self.metrics, "moorage_certificates_kept") != 0

    @property
    def open_breakers(self) -> tuple[str, ...]:
        """Registries that it leaves alone."""
        found = metrics.samples(self.metrics, "moorage_breaker_open")
        return tuple(labels.get("registry", "") for labels, number in found if number)

    @property
    def cloud_logins(self) -> tuple[tuple[str, str], ...]:
        """Kinds of logins at clouds, each with what came of some of them."""
        found = metrics.samples(self.metrics, "moorage_cloud_logins_total")
        return tuple((labels.get("provider", ""), labels.get("outcome", "")) for labels, number in found if number)


Heard = Mapping[str, Told | Unseen]
"""What each Pod says, by its name."""


def ops_port(pod: Pod) -> int:
    """Where a Pod of ours tells how it is."""
    ports = [port for one in pod.spec.containers for port in one.ports or ()]
    return next((port.container_port for name in _OPS_NAMES for port in ports if port.name == name), OPS)


def judge_deployment(found: Workload | Unseen, *, check: Check = Check.INSTALL) -> Finding:
    """Whether a Deployment of ours has the Pods that it wants."""
    is_adopt = check is Check.ADOPT
    name = ADOPT if is_adopt else NAME
    looked = f"deployment {name} in {INSTALLED_IN}"
    bad = doubtful if is_adopt else wrong
    nobody = (
        "rollouts that are older than Moorage stay without a pin, and pins that are gone stay"
        if is_adopt
        else "nobody answers: Pods are admitted as they are, or not at all under failurePolicy Fail"
    )
    if isinstance(found, Unseen):
        if not found.is_missing:
            return unseen(check, found)
        return bad(check, looked, f"it is not there: {nobody}", f"install it: {APPLY}")
    wanted, ready = found.spec.replicas, found.status.ready_replicas
    if not wanted:
        return bad(
            check,
            looked,
            f"it is scaled to nothing: {nobody}",
            f"kubectl -n {INSTALLED_IN} scale deployment {name} --replicas=2",
        )
    if ready < wanted:
        worse = bad if not ready else doubtful
        return worse(
            check,
            looked,
            f"{ready} of {wanted} Pods are ready{f': {nobody}' if not ready else ''}",
            f"kubectl -n {INSTALLED_IN} get pods, and describe and logs of those that are not ready",
        )
    return fine(check, looked, f"{ready} of {wanted} Pods are ready")


def judge_lease(found: Lease | Unseen) -> Finding:
    """Whether one of the adopters works."""
    looked = f"lease {ADOPT} in {INSTALLED_IN}"
    if isinstance(found, Unseen):
        if not found.is_missing:
            return unseen(Check.ADOPT, found)
    elif found.spec.holder_identity:
        return fine(Check.ADOPT, looked, f"held by {found.spec.holder_identity}")
    return doubtful(
        Check.ADOPT,
        looked,
        "nobody holds it: no pins are tended",
        f"kubectl -n {INSTALLED_IN} logs deployment/{ADOPT}: may it create and update the lease?",
    )


def judge_readiness(heard: Heard) -> Iterator[Finding]:
    """What Pods that are not well say themselves."""
    for name, told in heard.items():
        for line in told.not_ready if isinstance(told, Told) else ():
            yield wrong(
                Check.INSTALL,
                f"pod {name} in {INSTALLED_IN}",
                f"it is not ready: {line}",
                f"kubectl -n {INSTALLED_IN} logs {name}",
            )


def judge_heard(heard: Heard) -> Iterator[Finding]:
    """Pods that do not tell how they are, in one line a reason."""
    reasons: dict[str, list[tuple[str, Unseen]]] = {}
    for name, told in heard.items():
        if isinstance(told, Unseen):
            reasons.setdefault(told.why.replace(name, "…"), []).append((name, told))
    for every in reasons.values():
        names, (_, first) = few(name for name, _ in every), every[0]
        yield unseen(Check.INSTALL, msgspec.structs.replace(first, what=f"ops port of pods {names}"))


def judge_version(own: str, deployment: Workload, heard: Heard) -> Finding:
    """Whether what runs is what this command is."""
    looked = f"version of deployment {NAME}, beside this command's"
    running = sorted({told.version for told in heard.values() if isinstance(told, Told) and told.version})
    said = running or [one for one in [_said(deployment)] if one]
    if not said:
        return doubtful(
            Check.VERSION, looked, "nothing says which version runs", f"label it {VERSION_LABEL}, or look at its image"
        )
    if len(said) > 1:
        return doubtful(
            Check.VERSION,
            looked,
            f"several run at once: {', '.join(said)}",
            f"kubectl -n {INSTALLED_IN} rollout status deployment/{NAME}: is a rollout stuck?",
        )
    if said[0] != own:
        return doubtful(
            Check.VERSION,
            looked,
            f"{said[0]} runs, this command is {own}",
            "use the command of the version that runs: what another one shows may differ",
        )
    return fine(Check.VERSION, looked, f"both are {own}")


def judge_loaded(wanted: str, heard: Heard) -> Iterator[Finding]:
    """Whether every Pod has in force what the ConfigMap says; `wanted` is its hash."""
    told = {name: one for name, one in heard.items() if isinstance(one, Told)}
    refused = [name for name, one in told.items() if not one.is_loaded]
    others = [name for name, one in told.items() if one.hash and one.hash != wanted and name not in refused]
    looked = f"configuration in force, beside configmap {NAME}"
    if refused:
        yield wrong(
            Check.CONFIGURATION,
            looked,
            f"{few(refused)} could not load it; what was in force before still is",
            f"kubectl -n {INSTALLED_IN} logs {refused[0]} says which line is wrong",
        )
    if others:
        yield doubtful(
            Check.CONFIGURATION,
            looked,
            f"{few(others)} has another one in force",
            "the kubelet brings a changed ConfigMap within some two minutes; if it stays so, is it mounted with subPath?",
        )
    if not refused and not others and any(one.hash for one in told.values()):
        yield fine(Check.CONFIGURATION, looked, f"all Pods that say so have it ({wanted})")


def judge_problems(problems: Sequence[str], warnings: Sequence[str]) -> Finding:
    """The configuration in the ConfigMap; `problems` are why it cannot be used."""
    looked = f"configmap {NAME} in {INSTALLED_IN}"
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return wrong(
            Check.CONFIGURATION,
            looked,
            f"it cannot be used: {problems[0]}{more}",
            "mend it: Pods that run keep what they have in force, those that start do not become ready",
        )
    if warnings:
        more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
        return doubtful(
            Check.CONFIGURATION, looked, f"{warnings[0]}{more}", "`moorage config validate` tells all of it"
        )
    return fine(Check.CONFIGURATION, looked, "it can be used")


def judge_missing(why: str) -> Finding:
    """There is no configuration of the operator's, and that of the install is in force."""
    return wrong(
        Check.CONFIGURATION,
        f"configmap {NAME} in {INSTALLED_IN}",
        f"{why}: what Pods had in force stays so, and Pods that start now use the example of the install, which changes nothing",
        f"kubectl -n {INSTALLED_IN} create configmap {NAME} --from-file=moorage.yaml",
    )


def judge_no_configuration(why: str, *, was_asked: bool) -> Finding:
    """There is no configuration at all, or it cannot be read."""
    looked = f"configmap {NAME} in {INSTALLED_IN}"
    if not was_asked:
        return unseen(Check.CONFIGURATION, Unseen(looked, why, is_forbidden="forbidden" in why))
    advice = f"{APPLY}, and write one: `moorage config validate` checks a file"
    return wrong(Check.CONFIGURATION, looked, f"{why}; what has none does not start", advice)


def _said(deployment: Workload) -> str:
    """The version that a Deployment says it is of."""
    labels = {**(deployment.metadata.labels or {}), **(deployment.spec.template.metadata.labels or {})}
    containers = deployment.spec.template.spec.containers
    own = next((one for one in containers if one.name == NAME), containers[0] if containers else None)
    image = parsed(own.image) if own is not None else None
    tag = image.tag if isinstance(image, Reference) else None
    return labels.get(VERSION_LABEL, "") or (tag or "").removeprefix("v")
