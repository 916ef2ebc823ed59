"""Hostile messages for the server: each is answered with one sentence, and nothing else happens.

`python -m tests.serving.fuzz 10000` sends so many to a server of the shipped model.
"""

import base64
import json
import random
import sys
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.serving.running import Running
from tests.serving.talk import hear, tell

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 1e308, 10**400, "", "a" * 3000, "\ud800", "\x00", [], {}, [[]], [[[]]],
    {"type": "begin"}, [1e308] * 3, ["0.1"] * 3, [None] * 3, float("nan"), float("inf"),
    2**63, -(2**70),
)  # fmt: skip
WORDS = ("type", "picture", "shown", "room", "seed", "state", "text", "format", "actions", "x")


def valid(rng: random.Random, file: str) -> dict[str, Any]:
    """A message as it should be."""
    return rng.choice(
        [
            {"type": "begin", "picture": file, "seed": rng.randrange(9), "format": "png"},
            {"type": "begin", "room": rng.randrange(9)},
            {"type": "step", "actions": [[0.2, 0.0, 0.05]]},
            {"type": "save"},
        ]
    )


def damaged(rng: random.Random, file: str) -> str | bytes:
    """A message with something wrong in it: bytes, JSON, a key, a type or a value."""
    told, kind = valid(rng, file), rng.randrange(7)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        text = json.dumps(told)
        cut = rng.randrange(len(text))
        return text[:cut] + rng.choice(["", "}", '"', "[" * 2000, "\x00", "é"]) + text[cut + 1 :]
    if kind == 2:
        told[rng.choice(WORDS)] = rng.choice(STRANGE)
    elif kind == 3:
        told.pop(rng.choice(list(told)))
    elif kind == 4:
        told["actions"] = [[rng.choice(STRANGE) for _ in range(rng.randrange(5))]]
    elif kind == 5:
        data = bytearray(base64.b64decode(file))
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        told = {"type": "begin", "picture": base64.b64encode(data).decode()}
    else:
        return json.dumps(rng.choice(STRANGE))
    return json.dumps(told)


def attack(server: Running, file: str, count: int, seed: int = 0) -> dict[str, int]:
    """Send damaged messages, look at every answer, and walk on afterwards; what was answered."""
    rng = random.Random(seed)
    answers: dict[str, int] = {}
    with server.walk() as socket:
        for told in _answers(socket, rng, file, count):
            answers[told["type"]] = answers.get(told["type"], 0) + 1
            if told["type"] == "error":
                assert "\n" not in told["message"], told
                assert "server failed" not in told["message"], told
                assert len(told["message"]) < 600, told
        tell(socket, "begin", picture=file)
        assert hear(socket)[0]["type"] == "ready"
    return answers


def _answers(
    socket: ClientConnection, rng: random.Random, file: str, count: int
) -> Iterator[dict[str, Any]]:
    """The last answer to each damaged message."""
    for number in range(count):
        try:
            socket.send(damaged(rng, file))
            told, _ = hear(socket)
            while told["type"] == "frame":
                told, _ = hear(socket)
        except ConnectionClosed as closed:  # text that is no UTF-8 ends a websocket
            raise AssertionError(f"message {number} ended the connection: {closed}") from closed
        yield told


def main() -> None:
    from pathlib import Path

    from egowm.serving.served import Served
    from egowm.world_model import WorldModel

    running = Running(Served(WorldModel.from_pretrained("rooms").eval(), (64, 64)))
    page = Path(__file__).parent.parent.parent / "docs/rooms.png"
    file = base64.b64encode(page.read_bytes()).decode()
    print(attack(running, file, int(sys.argv[1])))
    running.stop()


if __name__ == "__main__":
    main()
