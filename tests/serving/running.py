"""A server in a thread of this process, at a free port of this machine, and what speaks to it."""

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from websockets.sync.client import ClientConnection, connect

from egowm.serving.app import VISITORS, build
from egowm.serving.doorkeeper import Doorkeeper
from egowm.serving.served import Served
from egowm.serving.server import make_server, opened


class Running:
    """A running server."""

    def __init__(
        self,
        served: Served,
        token: str | None = None,
        visitors: int = VISITORS,
        port: int = 0,
    ) -> None:
        self.app, self.worker, self.decoder = build(served, Doorkeeper(token), visitors)
        self.listening = opened("127.0.0.1", port)
        self.host = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.server = make_server(self.app)
        run = self.server.serve([self.listening])
        self.thread = threading.Thread(target=asyncio.run, args=(run,), daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.worker.stop()
        self.decoder.stop()

    def walk(self, query: str = "", **options: Any) -> ClientConnection:
        """A connection that walks."""
        options = {"max_size": 1 << 26, "proxy": None, **options}
        return connect(f"ws://{self.host}/v1/walk{query}", **options)

    def ask(
        self, path: str, told: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and JSON of a request; bytes are sent as they are."""
        data = told if told is None or isinstance(told, bytes) else json.dumps(told).encode()
        request = urllib.request.Request(f"http://{self.host}{path}", data, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    @property
    def visitors(self) -> int:
        return self.ask("/v1/model")[1]["visitors"]
