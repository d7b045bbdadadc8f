"""`moorage serve`: the options of the server, and its start."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from webhook.cli import common
from webhook.cli.exits import Exit, Stop


class LogFormat(StrEnum):
    """The values of `--log-format`."""

    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """The values of `--log-level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Kube(StrEnum):
    """The values of `--kube`."""

    AUTO = "auto"
    OFF = "off"


def serve(
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Admission, over TLS. Port 0 picks a free one.")
    ] = "0.0.0.0:8443",
    ops_listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Health and metrics, over HTTP.")
    ] = "0.0.0.0:8080",
    page_listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="A read-only page, over HTTP, such as 127.0.0.1:8081; whoever reaches it sees the images of all namespaces.",
        ),
    ] = "",
    page_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="With --page-listen: a name that it answers to besides localhost; repeatable."
        ),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.")] = None,
    tls_self_signed: Annotated[
        str, typer.Option(metavar="NAME", help="Make a certificate for this name in memory.")
    ] = "",
    tls_secret: Annotated[
        str,
        typer.Option(
            metavar="[NAMESPACE/]NAME", help="Take and keep certificate, seal keys and path secrets in this Secret."
        ),
    ] = "",
    tls_settle: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="With --tls-secret: within this time every API server and replica has heard of a change.",
        ),
    ] = "30s",
    ca_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the authority of --tls-self-signed here.")
    ] = None,
    client_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ask callers for a certificate of this authority.")
    ] = None,
    client_name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With --client-ca: a name that callers' certificates may bear; repeatable."),
    ] = None,
    path_secret_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Serve at /mutate/SECRET only.")] = None,
    seal_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keys that replicas share, one a line; the first signs.")
    ] = None,
    drain: Annotated[str, typer.Option(metavar="DURATION", help="How long to go on answering after SIGTERM.")] = "5s",
    log_format: Annotated[LogFormat, typer.Option(help="Log lines for programs or for people.")] = LogFormat.JSON,
    log_level: Annotated[LogLevel, typer.Option(help="The least that is logged.")] = LogLevel.INFO,
    kube: Annotated[
        Kube, typer.Option(help="Read the cluster of --kubeconfig, else the one this runs in, if any; or none.")
    ] = Kube.AUTO,
    kubeconfig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="How to reach a cluster from outside.")
    ] = None,
    register_url: Annotated[
        str,
        typer.Option(metavar="URL", help="Register at the cluster under this https:// URL until the end."),
    ] = "",
) -> None:
    """Answer AdmissionReviews until SIGTERM."""
    import os

    import uvloop

    from webhook.config import BadConfiguration, NoConfiguration
    from webhook.core.registration import NotRegistered
    from webhook.cores import leave_none
    from webhook.listening import CannotServe
    from webhook.options import BadOptions, Options
    from webhook.serving import Service
    from webhook.tls import BadCertificate

    leave_none()
    chosen = common.choices(config, rule, variable, "4s", None)
    try:
        options = Options(
            chosen.config,
            chosen.rules,
            chosen.variables,
            listen,
            ops_listen,
            tls_cert,
            tls_key,
            tls_self_signed,
            ca_out,
            client_ca,
            tuple(client_name or ()),
            path_secret_file,
            seal_key_file,
            common.duration("--drain", drain),
            log_format.value,
            log_level.value,
            kube=kube.value,
            kubeconfig=kubeconfig,
            register_url=register_url,
            tls_secret=tls_secret,
            tls_settle=_settle(tls_settle),
            page_listen=page_listen,
            page_hosts=tuple(page_host or ()),
        )
        service = Service(options, environ=os.environ)
        uvloop.run(service.run())
    except NoConfiguration as none:
        raise Stop(Exit.USAGE, str(none)) from None
    except BadConfiguration as bad:
        raise Stop(Exit.USAGE, str(bad), has_place=True) from None
    except (BadOptions, BadCertificate, CannotServe, NotRegistered, ValueError) as bad:
        raise Stop(Exit.USAGE, str(bad)) from None
    except OSError as failed:
        raise Stop(
            Exit.USAGE, f"cannot listen at {failed.filename or 'a port'}: {failed.strerror}; is it taken?"
        ) from None


def _settle(text: str) -> float:
    seconds = common.duration("--tls-settle", text)
    if seconds < 1:
        raise Stop(Exit.USAGE, f"--tls-settle {text}: less than a second is no time to hear of anything")
    return seconds
