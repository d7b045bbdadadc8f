"""Several real `moorage serve` processes behind one address, and their registration for one namespace."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import trustme

from tests.cluster.balancer import Balancer, Spread
from tests.cluster.real.api import Api
from tests.cluster.webhook import Settings, Webhook
from tests.support.until import until
from webhook.core.paths import path_of
from webhook.core.reason import Reason
from webhook.core.secret import Secret

RULES: Final[Sequence[Mapping[str, Any]]] = (
    {"operations": ["CREATE"], "apiGroups": [""], "resources": ["pods"]},
    {"operations": ["UPDATE"], "apiGroups": [""], "resources": ["pods/ephemeralcontainers"]},
    {"operations": ["CREATE", "UPDATE"], "apiGroups": ["apps"], "resources": ["replicasets", "controllerrevisions"]},
    {"operations": ["CREATE", "UPDATE"], "apiGroups": ["batch"], "resources": ["jobs"]},
)
"""What is registered for."""


class Webhooks(Sequence[Webhook]):
    """The processes, and what is true of all of them together."""

    def __init__(self, each: Sequence[Webhook], balancer: Balancer, folder: Path, spread: Spread) -> None:
        self._each = each
        self._balancer = balancer
        self.folder = folder
        self.url = f"https://127.0.0.1:{balancer.port(spread, len(each))}"

    def __getitem__(self, index: Any) -> Any:
        return self._each[index]

    def __len__(self) -> int:
        return len(self._each)

    @classmethod
    @contextmanager
    def running(cls, count: int, folder: Path, settings: Settings, authority: trustme.CA) -> Iterator[Self]:
        """So many processes behind a balancer, ready, for as long as the block lasts. Logs are in its folder `logs`."""
        (folder / "logs").mkdir()
        (folder / "moorage.yaml").write_text(settings.configuration)
        if settings.path:
            (folder / "path.secret").write_text(settings.path)
        (folder / "seal.keys").write_text("\n".join(settings.seal_keys) + "\n")
        pair = _write_pair(authority.issue_cert("127.0.0.1", "localhost"), folder)
        each = [Webhook(f"webhook-{number}", folder, settings) for number in range(count)]
        with ExitStack() as ending:
            for one in each:
                ending.callback(one.end)
                one.start()
            for one in each:
                one.await_ready()
            backends = {one.name: one.backend for one in each}
            balancer = ending.enter_context(Balancer.running(folder / "logs", backends, pair))
            yield cls(each, balancer, folder, settings.spread)

    def first(self, count: int, spread: Spread) -> Self:
        """The first so many of them, with an address of their own."""
        return type(self)(self._each[:count], self._balancer, self.folder, spread)

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all processes that run."""
        return sum(one.metric(name, **labels) for one in self._each if one.is_running)

    def lines(self) -> list[dict[str, Any]]:
        """The logs of all, in the order of time."""
        return sorted((line for one in self._each for line in one.lines()), key=lambda line: str(line["time"]))

    def told(self, reason: Reason) -> list[dict[str, Any]]:
        """The decisions of this reason, shortly after they were made. One write may be told several times: the API server
        asks anew, with another uid, each time that the object changed under it."""
        decisions = (one for line in self.lines() for one in line.get("decisions", ()))
        return [one for one in decisions if one["reason"] == reason]

    def forget(self) -> None:
        """Count anew: `metric` and `lines` tell only what comes now."""
        for one in self._each:
            one.forget()

    def await_up(self, *webhooks: Webhook) -> None:
        """Until these, or all, get calls."""
        names = {one.name for one in webhooks or self._each}
        until(f"{', '.join(sorted(names))} get calls", lambda: names <= self._balancer.up())

    def await_down(self, webhook: Webhook) -> None:
        """Until one that was ended gets no more calls."""
        until(f"{webhook.name} gets no calls", lambda: webhook.name not in self._balancer.up())

    def restart(self, webhook: Webhook) -> int:
        """As a rolling update does with one Pod: told to end, ended, started, ready, used. The exit code of the old."""
        code = webhook.terminate()
        self.start(webhook)
        return code

    def start(self, *webhooks: Webhook) -> None:
        """Start some that were ended; returns when they get calls."""
        for one in webhooks:
            one.start()
        for one in webhooks:
            one.await_ready()
        self.await_up(*webhooks)

    def replace(self) -> None:
        """Others take the place of all of them at once: nothing is known any more that was in memory."""
        for one in self._each:
            one.kill()
        self.start(*self._each)

    def configure(self, configuration: str) -> None:
        """Give all another configuration, and wait until it is in force."""
        # Whoever watches the file never sees half of it.
        new = self.folder / "logs" / "next.yaml"
        new.write_text(configuration)
        new.replace(self.folder / "moorage.yaml")
        begun = [(one, one.begin_reload()) for one in self._each]
        for one, before in begun:
            one.await_reload(before)


class Shared:
    """Three processes that tests have one after the other: most tests take less time than their start.

    Each test brings an upstream, a configuration and a namespace of its own, so that what the processes remember is
    never about the same things.
    """

    def __init__(self, folder: Path, settings: Settings, authority: trustme.CA) -> None:
        self.folder = folder
        self._settings = settings
        self._authority = authority
        self._running = ExitStack()
        self._all: Webhooks | None = None

    def take(self, count: int, settings: Settings) -> Webhooks:
        """So many of them, under this configuration. Those that another test has left dead are started again."""
        if self._all is None:
            starting = Webhooks.running(3, self.folder, self._settings, self._authority)
            self._all = self._running.enter_context(starting)
        dead = [one for one in self._all if not one.is_alive]
        for one in dead:
            one.end()
        self._all.start(*dead)
        taken = self._all.first(count, settings.spread)
        taken.configure(settings.configuration)
        taken.forget()
        return taken

    def close(self) -> None:
        """End them."""
        self._running.close()


@contextmanager
def registered(
    api: Api, namespace: str, url: str, settings: Settings, authority: trustme.CA, *, beside: str = ""
) -> Iterator[None]:
    """A registration for the objects of one namespace, removed with the block; `beside` names one more."""
    secret = Secret(settings.path) if settings.path else None
    webhook = {
        "name": "admission.moorage.dev",
        "clientConfig": {
            "url": url + path_of(secret),
            "caBundle": base64.b64encode(authority.cert_pem.bytes()).decode(),
        },
        "rules": [{"apiVersions": ["v1"], "scope": "Namespaced", **rule} for rule in RULES],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "failurePolicy": settings.failure_policy,
        "timeoutSeconds": settings.timeout,
        "sideEffects": "None",
        "reinvocationPolicy": "IfNeeded",
        "matchPolicy": "Equivalent",
        "admissionReviewVersions": ["v1"],
    }
    name = f"moorage-{namespace}{beside}"
    api.create({"kind": "MutatingWebhookConfiguration", "metadata": {"name": name}, "webhooks": [webhook]})
    try:
        yield
    finally:
        api.delete("MutatingWebhookConfiguration", name)


def _write_pair(certificate: trustme.LeafCert, folder: Path) -> Path:
    """The files that the processes read, and one with both for haproxy."""
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    key = certificate.private_key_pem.bytes()
    (folder / "tls.crt").write_bytes(chain)
    (folder / "tls.key").write_bytes(key)
    both = folder / "tls.pem"
    both.write_bytes(chain + key)
    return both
