"""What a server has of its cluster, by its options: a way to ask it, and what stands in it for the server.

Whoever serves without a cluster does without the modules behind it.
"""

import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from webhook.access import HOST, OWN_NAMESPACE, NoCluster, of_kubeconfig, of_pod, own_namespace
from webhook.options import BadOptions, Options
from webhook.tls import utc_now
from webhook.wiring import Cluster, new_id

if TYPE_CHECKING:
    from webhook.certificates import Held
    from webhook.core.rules import RuleSet
    from webhook.core.seal import Sealer
    from webhook.covering import Covering
    from webhook.registrar import Registrar
    from webhook.supply import Supply
    from webhook.telemetry import Telemetry


class Taker(Protocol):
    """Who serves with what a Secret holds: `webhook.serving.Service`."""

    async def take(self, held: "Held") -> None:
        """Serve with it."""

    def unread(self, trouble: str) -> None:
        """Hear what is wrong with the Secret that was read last."""

    def unkept(self, trouble: str | None) -> None:
        """Hear what is wrong with keeping it right; None from a replica that does not."""


def cluster_of(options: Options, environ: Mapping[str, str], sealer: "Sealer") -> Cluster | None:
    """The cluster of the kubeconfig, else the one this Pod runs in, else none.

    Raises:
        BadOptions: it cannot be made out how to reach it.
    """
    if options.kube == "off" or (options.kubeconfig is None and HOST not in environ):
        return None
    from webhook.kube import Kube

    try:
        access = of_pod(environ) if options.kubeconfig is None else of_kubeconfig(options.kubeconfig)
        return Cluster(Kube(access), sealer)
    except NoCluster as none:
        raise BadOptions(f"{none}; --kube off does without a cluster") from None


def registrar_of(options: Options, cluster: Cluster | None) -> "Registrar | None":
    """Who registers by URL, where that was asked for.

    Raises:
        BadOptions: no URL of the kind, or no cluster to register at.
    """
    url = options.register_url
    if not url:
        return None
    if not url.startswith("https://"):
        raise BadOptions(f"--register-url {url}: write it as https://HOST:PORT, as the API server reaches us")
    if cluster is None:
        raise BadOptions("--register-url wants a cluster to register at: give --kubeconfig")
    from webhook.registrar import Registrar

    return Registrar(cluster.kube)


def supply_of(options: Options, cluster: Cluster | None, taker: Taker, telemetry: "Telemetry") -> "Supply | None":
    """Certificate, seal keys and path secrets of a Secret, where they are to come from one.

    Raises:
        BadOptions: no cluster that holds it.
    """
    if not options.tls_secret:
        return None
    if cluster is None:
        raise BadOptions(f"--tls-secret {options.tls_secret} wants a cluster that holds it: give --kubeconfig")
    namespace, _, name = options.tls_secret.rpartition("/")
    from webhook.supply import Clocks, Supply
    from webhook.vault import Vault

    return Supply(
        cluster.kube,
        Vault(cluster.kube, namespace or own_namespace(options.kubeconfig), name),
        identity=f"{socket.gethostname()}_{new_id()}",
        clocks=Clocks(time.monotonic, utc_now),
        take=taker.take,
        unread=taker.unread,
        unkept=taker.unkept,
        did=lambda what: telemetry.log.write("info", "certificates kept", did=what),
        settle=options.tls_settle,
    )


def covering_of(
    options: Options, cluster: Cluster | None, rules: "Callable[[], RuleSet]", telemetry: "Telemetry"
) -> "Covering | None":
    """Who holds the live registration against the rules in force."""
    if cluster is None:
        return None
    from webhook.core.registered import Home
    from webhook.covering import Covering

    inside = options.kubeconfig is None and OWN_NAMESPACE.is_file()
    namespace = OWN_NAMESPACE.read_text().strip() if inside else ""
    return Covering(
        cluster.kube,
        rules,
        Home(namespace, url=options.register_url),
        telemetry.log,
        telemetry.registration_covers.set,
        now=time.monotonic,
    )
