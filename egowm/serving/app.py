"""The application: one page, `GET /v1/model`, `POST /v1/rollout`, and walks over a websocket."""

import asyncio
import hashlib
import logging
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from egowm.serving.doorkeeper import Doorkeeper
from egowm.serving.messages import (
    MOST_PICTURE,
    MOST_TEXT,
    MessageError,
    RolloutRequest,
    check,
    read,
)
from egowm.serving.served import Served
from egowm.serving.visit import Visit
from egowm.serving.worker import Busy, Worker

log = logging.getLogger(__name__)
VISITORS = 8  # at once
WAITING = 16  # jobs of the model; pictures to be decoded
REST = 300.0  # seconds without a message after which a walk gives way to a new visitor
Handler = Callable[[Request], Awaitable[Response]]


def build(
    served: Served, keeper: Doorkeeper = Doorkeeper(), visitors: int = VISITORS
) -> tuple[Starlette, Worker, Worker]:
    """The application of a model, the thread in which it works, and that which decodes pictures.

    Args:
        served: What is served.
        keeper: Lets connections in.
        visitors: Walks at once; who comes then is told that it is full.
    """
    worker, decoder = Worker(WAITING), Worker(WAITING, "decoder of pictures")
    walking: set[Visit] = set()
    page, policy = _page()

    async def home(request: Request) -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    async def model(request: Request) -> Response:
        now = {"visitors": len(walking), "picture_bytes": MOST_PICTURE}
        return JSONResponse(served.about() | now)

    async def rollout(request: Request) -> Response:
        told = check(read(await _body(request)), RolloutRequest)
        asked = await decoder.run(lambda: served.asked(told))
        picture = await decoder.run(lambda: served.sent(told["picture"]))
        answer, parts = await worker.run(lambda: served.rollout(asked, picture))
        futures: list[list[str]] = []
        while not await request.is_disconnected():
            part = await worker.run(lambda: next(parts, None), begun=True)
            if part is None:
                return JSONResponse({"frames": futures} | answer)
            futures += part
        raise MessageError("The asker has gone.")

    async def walk(socket: WebSocket) -> None:
        refusal, visit = keeper.refusal(socket), Visit(socket, served, worker, decoder)
        resting: Visit | None = None
        if refusal is None and len(walking) >= visitors:
            longest = max(walking, key=lambda one: one.rested)
            if longest.rested < REST:
                refusal = f"Full: {visitors} walk here at once at most. Try again later."
            else:
                walking.discard(longest)
                resting = longest
        if refusal is None:
            walking.add(visit)  # before anybody else can come
        try:
            if resting is not None:
                await resting.give_way()
            await socket.accept()
            await (visit.serve() if refusal is None else visit.refuse(refusal))
        finally:
            walking.discard(visit)

    routes = [
        Route("/", _guarded(home, keeper)),
        Route("/v1/model", _guarded(model, keeper)),
        Route("/v1/rollout", _guarded(rollout, keeper), methods=["POST"]),
        WebSocketRoute("/v1/walk", walk),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _strange}), worker, decoder


def _guarded(handler: Handler, keeper: Doorkeeper) -> Handler:
    """A handler for those who may ask; its errors become one sentence in JSON."""

    async def answer(request: Request) -> Response:
        refusal = keeper.refusal(request)
        if refusal is not None:
            return _error(refusal, 403)
        try:
            made = await handler(request)
        except MessageError as error:
            return _error(str(error), 400)
        except Busy as error:
            return _error(str(error), 503)
        except ValueError as error:  # of the model, of what it was told
            return _error(" ".join(str(error).split()), 400)
        except ClientDisconnect:  # in the middle of what it asked
            return _error("The asker has gone.", 400)
        except asyncio.CancelledError:
            return _error("The server ends.", 503)
        except Exception:
            log.exception("a request failed")
            return _error("The server failed; its log says why.", 500)
        made.headers["X-Content-Type-Options"] = "nosniff"
        made.headers["Referrer-Policy"] = "no-referrer"  # the token stays here
        made.headers["Cache-Control"] = "no-store"
        return made

    return answer


async def _strange(request: Request, error: Exception) -> Response:
    """A path or a method that is not served."""
    assert isinstance(error, HTTPException)
    asked = "GET /, GET /v1/model, POST /v1/rollout or a websocket at /v1/walk"
    return _error(f"{error.detail}: expected {asked}.", error.status_code, error.headers)


def _error(text: str, status: int, more: Mapping[str, str] | None = None) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else {}
    return JSONResponse({"error": text}, status, {**headers, **(more or {})})


async def _body(request: Request) -> bytes:
    """The body, as long as it is not too long. Raises MessageError."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_TEXT:
            raise MessageError(f"Expected at most {MOST_TEXT:,} bytes.")
        parts.append(part)
    return b"".join(parts)


def _page() -> tuple[str, str]:
    """The page in one piece, and the policy by which a browser runs nothing else in it."""
    here = files(__package__)
    style, script = (here.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    script = here.joinpath("map.js").read_text("utf-8") + script
    page = here.joinpath("page.html").read_text("utf-8")
    page = page.replace("{{style}}", style).replace("{{script}}", script)
    of_style, of_script = (f"'sha256-{_hash(text)}'" for text in (style, script))
    policy = (
        f"default-src 'none'; img-src blob: data:; style-src {of_style}; script-src {of_script}; "
        f"connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hash(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()
