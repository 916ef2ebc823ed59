"""Where the application is heard: a socket, and an end on SIGINT or SIGTERM with status 0."""

import asyncio
import errno
import secrets
import socket
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from egowm.serving.doorkeeper import LOOPBACK
from egowm.serving.messages import MOST_TEXT

GRACE = 3  # seconds for what is under way at the end


def opened(host: str, port: int) -> socket.socket:
    """A socket that is bound to a port; 0 takes a free one. Raises OSError, one line."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(kind, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # whoever reads the address may come at once
    except (OSError, OverflowError) as error:
        listening.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise OSError(
                f"Port {port} is taken: give another one with --port, or 0 for any that is free."
            ) from error
        raise OSError(f"Cannot listen at {host}, port {port}: {error}.") from error
    return listening


def token_for(host: str, token: str | None) -> str | None:
    """The token that visitors have to tell: none on this machine alone; a new one where the server
    is opened to others without one."""
    if token is None and host not in LOOPBACK:
        return secrets.token_urlsafe(16)
    return token


def address(listening: socket.socket, token: str | None) -> str:
    """What a visitor opens."""
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def serve(app: Starlette, listening: socket.socket) -> None:
    """Answer until a signal comes; open connections are closed then."""
    asyncio.run(make_server(app).serve([listening]))


class Server(uvicorn.Server):
    """Uvicorn's, which would raise the signal anew at its end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit, self.should_exit = self.should_exit, True


def make_server(app: Starlette) -> Server:
    """A server without a log of requests: what it is asked may hold the token."""
    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            ws="websockets-sansio",
            ws_max_size=MOST_TEXT,
            ws_per_message_deflate=False,  # pictures are small already
            timeout_graceful_shutdown=GRACE,
        )
    )
