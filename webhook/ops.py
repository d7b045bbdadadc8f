"""The ops port: liveness, readiness, metrics. Plain HTTP, so that the kubelet and Prometheus need no certificate.

All of it runs on the loop that answers reviews: when that hangs, nothing answers here either, and the kubelet notices.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import FastAPI, Header
from fastapi.responses import PlainTextResponse, Response

Checks = Callable[[], Awaitable[dict[str, str]]]
"""What readiness rests on: name to an empty text when well, else why not."""


def operations(
    checks: Checks,
    exposition: Callable[[str], tuple[bytes, str]],
    certificate: Callable[[], bytes] | None = None,
) -> FastAPI:
    """The application of the ops port. `exposition` is given what the reader accepts; `certificate` is the chain (PEM)
    that callers are shown, where there is one."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/livez")
    async def livez() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    async def readyz(verbose: str | None = None) -> PlainTextResponse:
        found = await checks()
        ready = not any(found.values())
        lines = [f"[{'-' if why else '+'}]{name} {why or 'ok'}" for name, why in found.items()]
        text = "\n".join(lines) if verbose is not None or not ready else "ok"
        return PlainTextResponse(f"{text}\n", 200 if ready else 503)

    @app.get("/metrics")
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        body, kind = exposition(accept)
        return Response(body, headers={"content-type": kind})

    if certificate is not None:

        @app.get("/certificate")
        async def chain() -> Response:
            # What everybody gets who connects to the other port: whoever sees no more than this one can compare.
            return Response(certificate(), media_type="application/pem-certificate-chain")

    return app
