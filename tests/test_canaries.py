"""No secret of ours and no word of an upstream's comes out anywhere, whatever happens: answers, annotations, log lines,
metrics. The registry puts a canary into every body and header, and repeats what it was sent."""

import json
from base64 import b64decode

import pytest
from msgspec.structs import replace

from tests.core.world import PRIVATE
from tests.support import wire
from tests.support.asking import READER, ROBOT, SECRETS, WRONG
from tests.support.door import Names
from tests.support.faults import first, redirected, sent_as, with_body, with_header, with_status
from tests.support.registry import CANARY, PATH, Asked, Fault, fake_registry
from tests.support.stack import Stack
from tests.support.wire import Answer
from webhook.core.credential import Credential
from webhook.core.globs import Globs
from webhook.core.hosts import Registry
from webhook.core.reference import Reference
from webhook.core.subject import Audience


class Holding:
    """One credential for everybody."""

    problems = ()

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    def peek(self, image: Reference, audience: Audience) -> tuple[Credential, ...]:
        return (self._credential,)

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> tuple[Credential, ...]:
        return (self._credential,)


def echoing(asked: Asked, answer: Answer) -> Answer:
    """Repeats what it was sent, where a registry may say something to people."""
    sent = asked.header("Authorization") or "nothing"
    scheme, _, packed = sent.partition(" ")
    parts = {
        sent,
        packed,
        b64decode(packed).decode() if scheme == "Basic" else "",
        *asked.query.get("refresh_token", ()),
    }
    said = [f'299 - "you sent {part}"' for part in parts if part]
    return with_header("Warning", *said)(asked, with_header("X-Echo", sent)(asked, answer))


FAULTS: dict[str, dict[str, Fault]] = {
    "all is well": {},
    "echo": {"manifest": echoing, "token": echoing},
    "a page": {"manifest": with_body(CANARY.encode(), "text/html")},
    "500": {"manifest": with_status(500)},
    "429": {"manifest": with_status(429, ("Retry-After", CANARY))},
    "404": {"manifest": with_status(404)},
    "a digest that is none": {"manifest": with_header("Docker-Content-Digest", CANARY)},
    "a realm elsewhere": {
        "manifest": with_status(401, ("WWW-Authenticate", f'Bearer realm="https://elsewhere.example/{CANARY}"'))
    },
    "a scheme of its own": {"manifest": with_status(401, ("WWW-Authenticate", f'{CANARY} realm="{CANARY}"'))},
    "a redirect": {"manifest": redirected(f"https://elsewhere.example/{CANARY}?sig={CANARY}")},
    "a redirect to nowhere": {"manifest": redirected(f"{CANARY}://{CANARY}")},
    "no HTTP": {"manifest": sent_as(wire.other_protocol)},
    "a broken token server": {"token": with_status(500)},
    "a token server that redirects": {"token": redirected(f"https://elsewhere.example/{CANARY}")},
    "a token that is none": {"token": with_body(json.dumps({"token": f"{CANARY} {CANARY}"}).encode())},
    "a token that is revoked at once": {"manifest": first(2, with_status(401, ("WWW-Authenticate", "Bearer")))},
}


@pytest.mark.parametrize("who", [READER, WRONG, ROBOT], ids=["right", "wrong", "identity"])
@pytest.mark.parametrize("login", ["bearer", "basic"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_secret_comes_out(fault: str, login: str, who: Credential) -> None:
    async with fake_registry() as fake:
        fake.push()
        fake.login = login
        fake.faults.update(FAULTS[fault])
        rule = replace(PRIVATE, images=Globs((f"{fake.host}/**",)))
        refusing = replace(rule, name="strict", containers=Globs(("c1",)), on_failure="refuse")
        stack = Stack(refusing, rule, providers={"pod": Holding(who)})
        await stack.open([Registry(fake.host, plain_http=True, allow_loopback=True)], Names({}))
        seen = [await stack.admit(f"{fake.host}/{PATH}:stable"), await stack.admit("x", f"{fake.host}/{PATH}:stable")]
        await stack.close()
        told = stack.shown() + "".join(f"{one.warnings}{one.refusal}{one.pod}" for one in seen)
        assert fake.asked
        assert [part for part in SECRETS if part in told] == []
        assert ("you sent nothing" in told) is (fault == "echo")
