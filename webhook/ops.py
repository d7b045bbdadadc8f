"""The ops port: liveness, readiness, metrics. Plain HTTP, so that the kubelet and Prometheus need no certificate."""

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response

Checks = Callable[[], dict[str, str]]
"""What readiness rests on: name to an empty text when well, else why not."""


def operations(checks: Checks, exposition: Callable[[], tuple[bytes, str]]) -> FastAPI:
    """The application of the ops port."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/livez")
    async def livez() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    async def readyz(verbose: str | None = None) -> PlainTextResponse:
        found = checks()
        ready = not any(found.values())
        lines = [f"[{'-' if why else '+'}]{name} {why or 'ok'}" for name, why in found.items()]
        text = "\n".join(lines) if verbose is not None or not ready else "ok"
        return PlainTextResponse(f"{text}\n", 200 if ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        body, kind = exposition()
        return Response(body, headers={"content-type": kind})

    return app
