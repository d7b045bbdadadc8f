"""The work of `moorage certs`: what is in a Secret or in files, told without a key."""

import asyncio
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from webhook.certificates import ENTRIES, PATH_SECRET, SEAL_KEY, Held, Stored, held, kept_in, made, names_of, stored_of
from webhook.cli import common
from webhook.cli.exits import Exit, Stop
from webhook.cli.forms.plain import aligned
from webhook.core.keeping import DAY, Begin, Complete, Forget, Issue, Kept, Register, Rest, Step, due
from webhook.core.registration import NAME
from webhook.core.subject import is_namespace
from webhook.tls import utc_now

if TYPE_CHECKING:
    from webhook.keeper import Look
    from webhook.kube import Kube

_SECRET: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
"""What a Secret may be called (RFC 1123, a subdomain as the API server takes it)."""
SOON: Final = 7 * DAY
"""Seconds before its end at which a certificate should long have been renewed."""


class Place(NamedTuple):
    """Where they are."""

    namespace: str
    secret: str
    folder: Path | None
    kubeconfig: Path | None
    context: str | None

    @property
    def title(self) -> str:
        """How it is told of."""
        return str(self.folder) if self.folder is not None else f"secret {self.namespace}/{self.secret}"

    @property
    def name(self) -> str:
        """The name that the API server calls by."""
        return names_of(self.namespace, NAME)[0]


class Finding(msgspec.Struct, frozen=True):
    """One line of `check`: `level` is ok, warning or error."""

    level: str
    about: str
    message: str


def make(namespace: str, secret: str, folder: Path | None, *, managed: bool, days: int, as_json: bool) -> None:
    """Make all of it, and print or write it.

    Raises:
        Stop: nothing can have these names, or files are there already, or cannot be written.
    """
    _want_name(namespace, "--namespace", is_good=is_namespace(namespace))
    _want_name(secret, "--secret", is_good=_SECRET.fullmatch(secret) is not None)
    if managed and folder is not None:
        raise Stop(Exit.USAGE, "--managed is a label of the Secret, and files have none: leave it out, or --dir")
    now = utc_now()
    kept = msgspec.structs.replace(made(names_of(namespace, NAME), now, life=days * DAY), is_ours=managed)
    stored = stored_of(kept)
    if folder is not None:
        _write(stored, folder)
    else:
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret, "namespace": namespace, "labels": dict(stored.labels)},
            "type": "Opaque",
            "data": stored.data(),
        }
        common.put(common.pretty(document) if as_json else _yaml(document))
    if not managed and kept.leaf is not None:
        otherwise = ", or give --managed" if folder is None else ""
        common.say(f"nobody renews this: make another before {_date(kept.leaf.ends)}{otherwise}")


def _want_name(text: str, option: str, *, is_good: bool) -> None:
    if not is_good:
        raise Stop(
            Exit.USAGE, f"{option}: {text!r} can be no name in Kubernetes: small letters, digits and dashes are wanted"
        )


def show(place: Place, *, as_json: bool) -> None:
    """Print what stands there.

    Raises:
        Stop: there is nothing, or it cannot be asked for.
    """
    stored, look = _found(place)
    data = _data(kept_in(stored), look)
    common.put(common.pretty(data) if as_json else _table(data))


def check(place: Place, *, as_json: bool) -> Exit:
    """Print what fits and what does not, and give the exit code.

    Raises:
        Stop: there is nothing, or it cannot be asked for.
    """
    stored, look = _found(place)
    findings = [*_of_contents(place, stored), *(_of_registration(look) if look is not None else ())]
    if as_json:
        common.put(common.pretty({**_head("CertsCheck"), "items": msgspec.to_builtins(findings)}))
    else:
        common.put("".join(f"{one.level:8}{one.about}: {one.message}\n" for one in findings))
    if look is not None and look.registered is None:
        return Exit.UNASKED
    return Exit.USAGE if any(one.level == "error" for one in findings) else Exit.FINE


def rotate(place: Place, what: str) -> None:
    """Ask for it by an annotation.

    Raises:
        Stop: the Secret is not Moorage's to keep, or cannot be changed.
    """
    from webhook.certificates import ROTATE
    from webhook.cli.cluster import connect
    from webhook.kube import MERGE_PATCH, named, said

    kube = connect(place.kubeconfig, place.context)
    stored, _ = _from_cluster(place, kube)
    if not stored.is_ours:
        kube.close()
        raise Stop(Exit.USAGE, f"{place.title} is kept by somebody else: rotate it where it comes from")
    path = named("api", "v1", "namespaces", place.namespace, "secrets", place.secret)

    async def ask() -> Any:
        deadline = asyncio.get_running_loop().time() + 10
        body = {"metadata": {"annotations": {ROTATE: what}}}
        return await kube.send("PATCH", path, body, deadline=deadline, content_type=MERGE_PATCH)

    answer = asyncio.run(ask())
    kube.close()
    if not answer.is_good:
        raise Stop(Exit.UNASKED, f"{place.title} cannot be changed: {said(answer)}")
    common.say(f"{place.title}: asked for; `moorage certs show` tells how far it is")


def _found(place: Place) -> "tuple[Stored, Look | None]":
    if place.folder is not None:
        return _from_files(place.folder), None
    from webhook.cli.cluster import connect

    kube = connect(place.kubeconfig, place.context)
    try:
        return _from_cluster(place, kube)
    finally:
        kube.close()


def _from_files(folder: Path) -> Stored:
    entries = {}
    for name in ENTRIES:
        try:
            entries[name] = (folder / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as failed:
            raise Stop(Exit.USAGE, f"{folder / name}: {failed.strerror}") from None
    if not entries:
        raise Stop(Exit.USAGE, f"{folder} holds none of {', '.join(ENTRIES)}")
    return Stored(entries)


def _from_cluster(place: Place, kube: "Kube") -> "tuple[Stored, Look | None]":
    import time

    from webhook.keeper import Keeper
    from webhook.vault import Unread, Vault

    keeper = Keeper(kube, Vault(kube, place.namespace, place.secret), now=time.monotonic, wall=utc_now)
    try:
        look = asyncio.run(keeper.look())
    except Unread as why:
        raise Stop(Exit.UNASKED, str(why)) from None
    if look.found is None:
        raise Stop(Exit.USAGE, f"there is no {place.title}: Moorage makes it when it starts with --tls-secret")
    return look.found.stored, look


def _write(stored: Stored, folder: Path) -> None:
    there = [name for name in stored.entries if (folder / name).exists()]
    if there:
        raise Stop(Exit.USAGE, f"{folder} holds {', '.join(there)} already: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in stored.entries.items():
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except OSError as failed:
        raise Stop(Exit.USAGE, f"{failed.filename or folder}: {failed.strerror}") from None
    common.say(f"{folder}: {', '.join(stored.entries)}")


def _yaml(document: dict[str, Any]) -> str:
    from webhook.document import written

    return written(document)


def _head(kind: str) -> dict[str, str]:
    return {"apiVersion": "moorage.dev/v1alpha1", "kind": kind}


def _data(kept: Kept, look: "Look | None") -> dict[str, Any]:
    leaf = kept.leaf
    return {
        **_head("Certs"),
        "managed": kept.is_ours,
        "authorities": [
            {
                "fingerprint": one.id,
                "notBefore": _date(one.starts),
                "notAfter": _date(one.ends),
                "renewed": _date(due(one)),
                "hasKey": one.key is not None,
            }
            for one in kept.authorities
        ],
        "certificate": {
            "names": sorted(leaf.names),
            "notBefore": _date(leaf.starts),
            "notAfter": _date(leaf.ends),
            "renewed": _date(due(leaf)),
            "signedBy": leaf.authority or None,
        }
        if leaf is not None
        else None,
        "sealKeys": len(kept.seals),
        "pathSecrets": len(kept.paths),
        "plainPath": kept.is_open,
        "oldAuthorityUntil": _date(kept.until) if kept.until else None,
        "asked": kept.wish or None,
        "next": _next(look.step, look.trouble) if look is not None else None,
    }


def _next(step: Step, trouble: str) -> str:
    match step:
        case Begin():
            words = "another authority is made"
        case Complete():
            words = "what is missing of keys and path secrets is made, or other paths are answered"
        case Register():
            words = "the registration is told"
        case Issue():
            words = "another certificate is made"
        case Forget():
            words = "the authority before is dropped"
        case Rest(until) if until > utc_now().timestamp():
            words = f"nothing until {_date(until)}"
        case Rest():
            words = "waits until every API server and every replica has heard of the last change"
    return f"{words}; {trouble}" if trouble else words


def _table(data: dict[str, Any]) -> str:
    rows = [["WHAT", "FROM", "TO", "RENEWED", "MORE"]]
    for one in data["authorities"]:
        more = f"{one['fingerprint'][:16]}{', has its key' if one['hasKey'] else ''}"
        rows.append(["authority", one["notBefore"], one["notAfter"], one["renewed"], more])
    leaf = data["certificate"]
    if leaf is not None:
        signer = f"signed by {leaf['signedBy'][:16]}" if leaf["signedBy"] else "signed by nobody who is here"
        rows.append(["certificate", leaf["notBefore"], leaf["notAfter"], leaf["renewed"], signer])
        rows.extend(["name", "", "", "", name] for name in leaf["names"])
    rows.append(["seal keys", "", "", "", str(data["sealKeys"])])
    also = ", and the path without one is answered" if data["plainPath"] else ""
    rows.append(["path secrets", "", "", "", f"{data['pathSecrets']}{also}"])
    for key, title in (("oldAuthorityUntil", "old authority until"), ("asked", "asked for"), ("next", "next")):
        if data[key]:
            rows.append([title, "", "", "", data[key]])
    return aligned(rows)


def _of_contents(place: Place, stored: Stored) -> Iterator[Finding]:
    now = utc_now()
    found: Held = held(stored, name=place.name, now=now)
    for problem in found.problems:
        yield Finding("error", place.title, problem)
    if found.pair is not None:
        left = found.pair.expires - now.timestamp()
        level = "ok" if left > SOON else "warning"
        yield Finding(level, "certificate", f"fits its key and {place.name}, ends {_date(found.pair.expires)}")
    if found.sealer is not None:
        yield Finding("ok", "seal keys", f"{len(kept_in(stored).seals)} in {SEAL_KEY}")
    if found.paths:
        also = ", and the path without one is answered" if found.is_open else ""
        yield Finding("ok", "path secrets", f"{len(found.paths)} in {PATH_SECRET}{also}")


def _of_registration(look: "Look") -> Iterator[Finding]:
    about = f"mutatingwebhookconfiguration {NAME}"
    if look.trouble:
        yield Finding("error", about, look.trouble)
    elif isinstance(look.step, Register):
        yield Finding("error", about, "does not say what the Secret says: Moorage mends that within 10 s, if it runs")
    elif _is_told(look):
        yield Finding("ok", about, "trusts who signed the certificate, and leads to the path")
    else:
        yield Finding("warning", about, "says what was served by before: what stands in the Secret now cannot be used")


def _is_told(look: "Look") -> bool:
    """Whether callers trust and call what stands in the Secret."""
    kept, registered = look.kept, look.registered
    if kept is None or kept.leaf is None or registered is None:
        return False
    is_answered = registered.path in kept.paths or (registered.path is None and kept.is_open)
    return is_answered and kept.leaf.authority in registered.trusts


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
