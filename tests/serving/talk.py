"""What a client of the websocket does: messages, each with the pictures that it announces."""

import json
from typing import Any

from websockets.sync.client import ClientConnection


def tell(socket: ClientConnection, kind: str, **fields: Any) -> None:
    """Send a message."""
    socket.send(json.dumps({"type": kind, **fields}))


def hear(socket: ClientConnection) -> tuple[dict[str, Any], list[bytes]]:
    """The next message and what it announces."""
    told = json.loads(socket.recv(timeout=60))
    count = 1 if told["type"] == "saved" else len(told.get("pictures", ()))
    return told, [socket.recv(timeout=60) for _ in range(count)]


def step(socket: ClientConnection, actions: list[list[float]]) -> list[tuple[dict, list[bytes]]]:
    """The frames of some actions, and what is said at their end."""
    tell(socket, "step", actions=actions)
    found = [hear(socket)]
    while found[-1][0]["type"] == "frame":
        found.append(hear(socket))
    return found
