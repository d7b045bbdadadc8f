"""One reference to Known, Absent or Failed: drives the login conversation through the door, and keeps the tokens."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

import msgspec
from cachetools import LRUCache

from webhook.core.ask import Absent, Failed, Known, Passed
from webhook.core.challenge import Challenge, NeedToken, Request, Response, Token, Trouble, fetch_token, with_login
from webhook.core.credential import ANONYMOUS, Candidates, Credential
from webhook.core.hosts import Registries, Registry
from webhook.core.manifest import (
    ACCEPT,
    INDEXES,
    MANIFEST_BODY,
    Contents,
    Platform,
    Proof,
    body_proof,
    contents_of,
    head_proof,
    platform_of,
)
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.core.retry import first_deadline, fits, pause_after
from webhook.core.secret import Secret

RENEW_AT: Final = 0.8
RENEW_BEFORE: Final = 5.0
TOKENS: Final = 8 * 1024 * 1024
"""Bytes of tokens that are kept; a token of Docker Hub has three thousand."""
CHALLENGES: Final = 1024 * 1024
"""Bytes of challenges that are kept."""
_NOBODY: Final = (
    "none of the credentials that are configured for it counts here; `anonymous` among them asks without a login"
)


class Door(Protocol):
    """What sends requests: `webhook.outbound.Outbound`."""

    async def send(self, request: Request, *, registry: Registry, deadline: float) -> Response | Trouble:
        """The answer by the absolute loop time `deadline`."""


class _Kept(msgspec.Struct, frozen=True):
    token: Token
    until: float


class _Count:
    """How many requests one question took."""

    def __init__(self) -> None:
        self.number = 0


class _Ask(msgspec.Struct, frozen=True):
    image: Reference
    registry: Registry
    credential: Credential
    deadline: float
    asked: _Count


Answer = TypeVar("Answer")
Question = Callable[[_Ask], Awaitable[Answer | Absent | Trouble]]


class Accepted(Generic[Answer]):
    """An answer, and the credential that got it."""

    def __init__(self, answer: Answer, credential: Credential) -> None:
        self.answer = answer
        self.credential = credential


class RegistryClient:
    """Asks registries. Tokens are kept per (realm, service, scope, credential) until they near their end."""

    def __init__(
        self,
        outbound: Door,
        registries: Registries,
        *,
        now: Callable[[], float],
        jitter: Callable[[], float] = random.random,
        refused: Callable[[Credential], None] | None = None,
    ) -> None:
        """`refused` is told of each credential that a registry does not accept, for this image at least."""
        self._outbound = outbound
        self._refused = refused or (lambda _credential: None)
        self._registries = registries
        self._now = now
        self._jitter = jitter
        self._tokens: LRUCache[NeedToken, _Kept] = LRUCache(TOKENS, getsizeof=_token_size)
        self._fetching: dict[NeedToken, asyncio.Task[Token | Trouble]] = {}
        self._challenges: LRUCache[tuple[str, str], Challenge] = LRUCache(CHALLENGES, getsizeof=_challenge_size)

    async def digest_of(self, image: Reference, candidates: Candidates, *, deadline: float) -> Known | Absent | Failed:
        """The digest that the image names now, or the confirmation of the one it carries."""
        started = self._now()
        asked = _Count()
        outcome = await self._ask(image, candidates, deadline, asked, self._prove)
        if isinstance(outcome, Accepted):
            proof = outcome.answer
            milliseconds = (self._now() - started) * 1000
            return Known(
                proof.digest,
                "fresh",
                image.registry,
                outcome.credential.kind,
                requests=asked.number,
                milliseconds=milliseconds,
                media_type=proof.media_type,
            )
        return outcome

    async def greet(
        self, image: Reference, candidates: Candidates, *, deadline: float
    ) -> tuple[Passed | Absent | Failed, str]:
        """Whether the registry of an image answers and takes one of these credentials, as `docker login` finds out; and
        the kind of the one that it took, or refused last."""
        started = self._now()
        outcome = await self._ask(image, candidates, deadline, _Count(), self._welcome)
        if isinstance(outcome, Accepted):
            return Passed((self._now() - started) * 1000), outcome.credential.kind
        offered = [one.kind for one in candidates.credentials if not one.is_anonymous]
        return outcome, next(reversed(offered), "")

    async def platforms_of(
        self, image: Reference, candidates: Candidates, *, deadline: float
    ) -> tuple[str, ...] | Absent | Failed:
        """The platforms of an index, in its order, or the one of a single image (which its configuration knows)."""
        outcome = await self._ask(image, candidates, deadline, _Count(), self._platforms)
        if not isinstance(outcome, Accepted):
            return outcome
        return tuple(str(platform) for platform in outcome.answer if platform.os)

    async def holds(
        self, image: Reference, candidates: Candidates, *, scheme: str, platforms: tuple[str, ...], deadline: float
    ) -> Passed | Absent | Failed:
        """Whether this place holds the digest and, where platforms are given, their children too (an index may be
        there while its children fail: kraken registry_blob sends no Accept)."""
        started = self._now()
        found = await self._ask(image, candidates, deadline, _Count(), self._prove, scheme)
        if not isinstance(found, Accepted):
            return found
        if platforms and found.answer.media_type in INDEXES:
            missing = await self._missing_child(image, candidates, scheme, platforms, deadline)
            if missing is not None:
                return missing
        return Passed((self._now() - started) * 1000)

    async def _missing_child(
        self, image: Reference, candidates: Candidates, scheme: str, platforms: tuple[str, ...], deadline: float
    ) -> Absent | Failed | None:
        listed = await self._ask(image, candidates, deadline, _Count(), self._contents, scheme)
        if not isinstance(listed, Accepted):
            return listed
        for platform in platforms:
            digest = listed.answer.child_for(platform)
            if not digest:
                return Absent(image.registry, f"{image} for {platform}")
            found = await self._ask(image.pinned(digest), candidates, deadline, _Count(), self._prove, scheme)
            if not isinstance(found, Accepted):
                return found
        return None

    async def _ask(
        self,
        image: Reference,
        candidates: Candidates,
        deadline: float,
        asked: _Count,
        question: Question[Answer],
        scheme: str = "",
    ) -> Accepted[Answer] | Absent | Failed:
        """Put one question with each credential in turn, until one is accepted (the kubelet tries all that match)."""
        registry = self._registries.find(image.registry)
        what = image.repository
        if registry is None:
            return Failed(Reason.HOST_NOT_LISTED, what, f"add registries.{image.registry}: {{}} to allow it")
        if scheme == "http" and not registry.plain_http:
            registry = msgspec.structs.replace(registry, plain_http=True)
            candidates = _without_logins(candidates, image.registry)
        outcome: Absent | Failed = Absent(image.registry, str(image), denied=True)
        # Where nobody can ask, the registry has said nothing: neither about the image nor about its own health.
        lacking = None if candidates.credentials else Failed(Reason.NO_LOGIN, what, _NOBODY)
        refused = False
        for credential in candidates.credentials:
            if credential.lacks:
                lacking = lacking or Failed(Reason.NO_LOGIN, what, credential.lacks)
                continue
            if credential.is_anonymous and refused:
                continue
            ask = _Ask(image, registry, credential, deadline, asked)
            answer = await question(ask)
            if isinstance(answer, Trouble) and answer.reason is Reason.ABSENT:
                # The token server knows this login as little as the registry would.
                answer = Absent(image.registry, str(image), denied=True)
            if isinstance(answer, Trouble):
                return Failed(answer.reason, what, answer.detail, answer.retry_after)
            if not isinstance(answer, Absent):
                return Accepted(answer, credential)
            outcome = answer
            if answer.denied and not credential.is_anonymous:
                refused = True
                self._refused(credential)
        # Who could not log in has not heard whether there is such an image.
        return lacking or outcome

    async def _prove(self, ask: _Ask) -> Proof | Absent | Trouble:
        wanted = ask.image.digest
        answer = await self._manifest(ask, "HEAD")
        if isinstance(answer, Response) and answer.status == 200:
            proof = head_proof(answer, wanted)
            if proof is not None:
                return proof
        elif not isinstance(answer, Response):
            return answer
        elif answer.status not in {405, 501} and not (answer.status == 404 and ask.registry.proxy_cache):
            return _verdict(answer, ask)
        answer = await self._manifest(ask, "GET")
        if isinstance(answer, Response):
            return body_proof(answer, wanted) if answer.status == 200 else _verdict(answer, ask)
        return answer

    async def _contents(self, ask: _Ask) -> Contents | Absent | Trouble:
        answer = await self._manifest(ask, "GET")
        if not isinstance(answer, Response):
            return answer
        if answer.status != 200:
            return _verdict(answer, ask)
        proof = body_proof(answer, ask.image.digest)
        return proof if isinstance(proof, Trouble) else contents_of(answer)

    async def _platforms(self, ask: _Ask) -> tuple[Platform, ...] | Absent | Trouble:
        contents = await self._contents(ask)
        if not isinstance(contents, Contents):
            return contents
        if not contents.config:
            return tuple(child.platform for child in contents.children if child.platform is not None)
        answer = await self._get(ask, "GET", f"blobs/{contents.config}", "blob")
        if not isinstance(answer, Response):
            return answer
        if answer.status != 200:
            return _verdict(answer, ask)
        platform = platform_of(answer.body, contents.config)
        return platform if isinstance(platform, Trouble) else (platform,)

    async def _welcome(self, ask: _Ask) -> bool | Absent | Trouble:
        answer = await self._talk(Request("GET", f"{_base(ask.registry)}/v2/", "ping"), ask)
        if not isinstance(answer, Response):
            return answer
        return True if answer.status == 200 else _verdict(answer, ask)

    async def _manifest(self, ask: _Ask, method: str) -> Response | Trouble:
        return await self._get(ask, method, f"manifests/{ask.image.digest or ask.image.floating}", "manifest")

    async def _get(self, ask: _Ask, method: str, what: str, purpose: str) -> Response | Trouble:
        url = f"{_base(ask.registry)}/v2/{ask.image.path}/{what}"
        accept = ACCEPT if purpose == "manifest" else ""
        return await self._talk(Request(method, url, purpose, accept, limit=MANIFEST_BODY), ask)

    async def _talk(self, request: Request, ask: _Ask) -> Response | Trouble:
        """One request, with whatever login it takes."""
        registry, image = ask.registry, ask.image
        place = (registry.host, image.path)
        known = self._challenges.get(place)
        talk = with_login(request, path=image.path, registry=registry, credential=ask.credential, known=known)
        said: Response | Trouble | Token | None = None
        try:
            while True:
                wish = next(talk) if said is None else talk.send(said)
                said = await self._token(wish, ask) if isinstance(wish, NeedToken) else await self._send(wish, ask)
        except StopIteration as done:
            answer: Response | Trouble
            challenge: Challenge | None
            answer, challenge = done.value
            if challenge is not None:
                self._challenges[place] = challenge
            elif known is not None:
                # What is known led to no token: a registry may have moved its realm.
                self._challenges.pop(place, None)
            return answer

    async def _send(self, request: Request, ask: _Ask) -> Response | Trouble:
        """One request, and one more after a passing trouble while there is time for it."""
        clock = asyncio.get_running_loop().time
        ask.asked.number += 1
        until = first_deadline(clock(), ask.deadline)
        answer = await self._outbound.send(request, registry=ask.registry, deadline=until)
        pause = pause_after(answer, self._jitter())
        if pause is None or not fits(pause, clock(), ask.deadline):
            return answer
        await asyncio.sleep(pause)
        ask.asked.number += 1
        return await self._outbound.send(request, registry=ask.registry, deadline=ask.deadline)

    async def _token(self, need: NeedToken, ask: _Ask) -> Token | Trouble:
        key = msgspec.structs.replace(need, refused=Secret(""))
        kept = self._tokens.get(key)
        # Of many whose token was revoked the first gets a new one, which serves the others.
        if kept is not None and kept.token.text != need.refused and self._now() < kept.until:
            return kept.token
        task = self._fetching.get(key)
        is_mine = task is None or task.done()
        if task is None or is_mine:
            task = self._fetching[key] = asyncio.create_task(self._fetch_token(key, ask))
            task.add_done_callback(lambda done: self._landed(key, done))
        # Waited for, never cancelled: one who runs out of time must not take the token from the others.
        remaining = ask.deadline - asyncio.get_running_loop().time()
        done, _ = await asyncio.wait({task}, timeout=max(0.0, remaining))
        if not done:
            return Trouble(Reason.OUT_OF_TIME, "no answer in time")
        outcome = task.result()
        if not is_mine and isinstance(outcome, Trouble) and outcome.reason is Reason.OUT_OF_TIME:
            # It was the time of the one who began it.
            return await self._token(need, ask)
        return outcome

    def _landed(self, key: NeedToken, task: asyncio.Task[Token | Trouble]) -> None:
        if self._fetching.get(key) is task:
            del self._fetching[key]

    async def _fetch_token(self, need: NeedToken, ask: _Ask) -> Token | Trouble:
        exchange = fetch_token(need)
        said: Response | Trouble | None = None
        try:
            while True:
                wish = next(exchange) if said is None else exchange.send(said)
                said = await self._send(wish, ask)
        except StopIteration as done:
            outcome: Token | Trouble = done.value
            if isinstance(outcome, Token):
                self._keep(need, outcome)
            return outcome

    def _keep(self, need: NeedToken, token: Token) -> None:
        life = min(token.life * RENEW_AT, token.life - RENEW_BEFORE)
        self._tokens[need] = _Kept(token, self._now() + life)


def _without_logins(candidates: Candidates, host: str) -> Candidates:
    """Nobody's in place of logins, where whoever is on the way reads along and nothing says that they may go there."""
    kept = next((one for one in candidates.credentials if not one.is_anonymous), None)
    if kept is None:
        return candidates
    why = f"no login is sent over plain HTTP; `plainHTTP: true` under registries.{host} allows it"
    return msgspec.structs.replace(candidates, credentials=(Credential(kept.kind, lacks=why), ANONYMOUS))


def _base(registry: Registry) -> str:
    return f"{'http' if registry.plain_http else 'https'}://{registry.endpoint}"


def _token_size(kept: _Kept) -> int:
    return len(kept.token.text.reveal()) + 512


def _challenge_size(challenge: Challenge) -> int:
    return len(challenge.realm) + len(challenge.service) + 256


def _verdict(answer: Response, ask: _Ask) -> Absent | Trouble:
    """What a status other than 200 means. 401, 403 and 404 are told apart for how long they are believed, no further:
    each can mean "absent" and "not yours"."""
    status = answer.status
    if status in {401, 403, 404}:
        return Absent(ask.image.registry, str(ask.image), denied=status != 404)
    if status >= 500 or status == 408:
        return Trouble(Reason.UNAVAILABLE, f"it answers {status}", answer.retry_after)
    return Trouble(Reason.BAD_REGISTRY, f"it answers {status}")
