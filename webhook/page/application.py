"""The application of the page's port: the same answers as JSON under `/api/` and as pages."""

import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp

from webhook import __version__
from webhook.ops import Checks
from webhook.page import answers, described, telling
from webhook.page.guard import Guard
from webhook.page.names import Names
from webhook.page.recent import Wanted
from webhook.page.rendering import Rendering, file
from webhook.page.telling import Sources

USUAL: Final = 50
MOST: Final = 100
"""Reviews of one answer."""
LONGEST: Final = 253
"""Characters of a name that is looked for: no namespace and no rule has a longer one."""
FILES: Final = (("style.css", "text/css; charset=utf-8"), ("icon.svg", "image/svg+xml"))

Fault = Callable[[BaseException], str]
"""Told of an error of ours; gives the id under which it is logged."""
Tell = Callable[..., Awaitable[msgspec.Struct]]
"""Gives an answer to parameters."""

Namespace = Annotated[str, Query(max_length=LONGEST, description="Only reviews of this namespace.")]
RuleName = Annotated[
    str, Query(max_length=LONGEST, description="Only reviews with an image that this rule decided on.")
]
OutcomeWord = Annotated[Literal["", answers.Outcome], Query(description="Only reviews of which this came.")]
Before = Annotated[int, Query(ge=0, description="Only reviews with a smaller number; 0 for the newest.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="Reviews at most.")]


class Paths:
    """What is at each path."""

    def __init__(self, sources: Sources, checks: Checks) -> None:
        self._sources = sources
        self._checks = checks
        self._started = time.time()

    async def status(self) -> answers.Status:
        """The process that answers: version, configuration, certificate, registration."""
        return telling.status(self._sources, await self._checks(), started=self._started)

    async def rules(self) -> answers.Rules:
        """The rules in force, as they are compiled."""
        return telling.rules(self._sources)

    async def registries(self) -> answers.Registries:
        """The registries that may be asked, and how they do."""
        return telling.registries(self._sources)

    async def targets(self) -> answers.Targets:
        """The targets, and how they do."""
        return telling.targets(self._sources)

    async def decisions(
        self,
        namespace: Namespace = "",
        rule: RuleName = "",
        outcome: OutcomeWord = "",
        before: Before = 0,
        limit: Limit = USUAL,
    ) -> answers.Decisions:
        """The reviews that were answered last, each image with its trace."""
        return telling.decisions(self._sources, Wanted(namespace, rule, outcome, before), limit)


Shaped = tuple[str, str, type[msgspec.Struct]]
SHAPES: Final[tuple[Shaped, ...]] = (
    ("status", "/", answers.Status),
    ("rules", "/rules", answers.Rules),
    ("registries", "/registries", answers.Registries),
    ("targets", "/targets", answers.Targets),
    ("decisions", "/decisions", answers.Decisions),
)
"""Each answer: its name, which is its place under `/api/`; the page that shows it; its shape."""


def page(sources: Sources, checks: Checks, fault: Fault, names: Names) -> ASGIApp:
    """The application. `checks` are those of readiness; it may be asked for under the `names`."""
    app = FastAPI(
        title="Moorage",
        version=__version__,
        description="What one process of Moorage knows, read-only.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    paths, rendering = Paths(sources, checks), Rendering()
    for name, at, shape in SHAPES:
        tell = getattr(paths, name)
        app.add_api_route(
            f"/api/{name}",
            _as_json(tell),
            response_model=None,
            description=tell.__doc__,
            openapi_extra=described.answered_with(shape),
        )
        app.add_api_route(at, _as_page(tell, name, rendering), response_model=None, include_in_schema=False)
    _describe(app, rendering)
    _add_files(app)
    _add_errors(app, rendering, fault)
    return Guard(app, names)


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _as_json(tell: Tell) -> Callable[..., Awaitable[Response]]:
    @wraps(tell)
    async def told(**asked: Any) -> Response:
        return _json(await tell(**asked))

    return told


def _as_page(tell: Tell, name: str, rendering: Rendering) -> Callable[..., Awaitable[Response]]:
    @wraps(tell)
    async def shown(**asked: Any) -> Response:
        return HTMLResponse(await rendering.render(f"{name}.html", answer=await tell(**asked), asked=asked))

    return shown


def _describe(app: FastAPI, rendering: Rendering) -> None:
    whole = described.document(app.openapi())
    document = msgspec.json.encode(whole)
    rows = {"operations": list(described.operations(whole)), "shapes": list(described.shapes(whole))}

    @app.get("/api/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(document, media_type="application/json")

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(await rendering.render("docs.html", **rows))


def _add_files(app: FastAPI) -> None:
    for name, kind in FILES:
        app.add_api_route(f"/{name}", _constant(file(name), kind), response_model=None, include_in_schema=False)


def _constant(body: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def given() -> Response:
        return Response(body, media_type=kind)

    return given


def _add_errors(app: FastAPI, rendering: Rendering, fault: Fault) -> None:
    async def told(request: Request, status: int, title: str, error: str) -> Response:
        if request.url.path.startswith("/api/"):
            return _json(answers.Trouble(error), status)
        return HTMLResponse(await rendering.render("trouble.html", status=status, title=title, error=error), status)

    @app.exception_handler(HTTPException)
    async def nothing(request: Request, _error: Exception) -> Response:
        return await told(
            request, 404, "Nothing here", "nothing is at this path; /api/docs tells what there is to read"
        )

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # Not what was sent, which is in the error, too.
        problems = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return await told(request, 400, "Wrong parameters", problems)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return await told(
            request, 500, "A fault of ours", f"internal error {fault(error)}; the log tells more under that id"
        )
