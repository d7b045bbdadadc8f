"""A way to the API server that counts requests, and is slow, silent, refusing or gone where a test tells it to."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import trustme

from tests.cluster.proxy import Proxy
from tests.cluster.real.api import Api
from tests.support.ports import lasting_ports


class Gateway:
    """A proxy with TLS on both sides, and a kubeconfig that leads through it."""

    def __init__(self, proxy: Proxy, kubeconfig: Path) -> None:
        self.proxy = proxy
        self.kubeconfig = kubeconfig

    @classmethod
    @contextmanager
    def running(cls, behind: Path, folder: Path, authority: trustme.CA) -> Iterator[Self]:
        """Before the API server, for the user of a kubeconfig."""
        api = Api.from_kubeconfig(behind)
        server = urlsplit(api.url)
        assert server.hostname is not None
        assert server.port is not None
        taking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(taking)
        dialling = ssl.create_default_context(cafile=api.ca)
        ca = folder / "gateway-ca.crt"
        authority.cert_pem.write_to_path(str(ca))
        (port,) = lasting_ports(1)
        with Proxy.running(port, (server.hostname, server.port), taking=taking, dialling=dialling) as proxy:
            through = Api(f"https://{proxy.host}", ca, api.token)
            yield cls(proxy, through.write_kubeconfig(folder / "gateway.kubeconfig"))
