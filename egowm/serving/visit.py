"""One connection that walks: messages in, frames out; with its end the walk is gone."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from egowm.serving.messages import (
    MOST_PICTURE,
    Format,
    MessageError,
    actions_of,
    chosen,
    encoded,
    read_message,
)
from egowm.serving.served import Served
from egowm.serving.walk import Seen, Walk
from egowm.serving.worker import Busy, Worker

log = logging.getLogger(__name__)
R = TypeVar("R")
_FILMING = threading.Lock()
AHEAD = 8  # messages that are read before they are answered
GONE = "websocket.disconnect"
REFUSED = 1008  # the websocket's code of a policy
GAVE_WAY = 4000  # ours: the page comes again when it is used


class Visit:
    """A visitor.

    Args:
        socket: Accepted.
        served: What is walked in.
        worker: The thread of the model.
        decoder: The thread that decodes pictures.
    """

    def __init__(self, socket: WebSocket, served: Served, worker: Worker, decoder: Worker) -> None:
        self.socket, self.served, self.worker, self.decoder = socket, served, worker, decoder
        self.walk: Walk | None = None
        self.form: Format = "png"
        self._heard = time.monotonic()

    @property
    def rested(self) -> float:
        """Seconds since the last message."""
        return time.monotonic() - self._heard

    async def refuse(self, why: str, code: int = REFUSED) -> None:
        """Say why, and close."""
        await self._tell({"type": "error", "message": why})
        await self.socket.close(code)

    async def give_way(self) -> None:
        """End a walk that rests, for another visitor."""
        why = f"This walk rested for {self.rested / 60:.0f} minutes, and another visitor came."
        with suppress(WebSocketDisconnect, RuntimeError):  # gone already
            await self.refuse(f"{why} Press a key to walk again.", GAVE_WAY)

    async def serve(self) -> None:
        """Answer until the visitor has gone. A message that cannot be followed gets one sentence,
        and the walk stays as it was."""
        heard: asyncio.Queue[Any] = asyncio.Queue(AHEAD)
        hearing = asyncio.create_task(self._hear(heard))
        try:
            while True:
                await self._answer(await heard.get())
        except (WebSocketDisconnect, RuntimeError, asyncio.CancelledError):
            pass  # gone, also in the middle of an answer; or the server ends
        finally:
            hearing.cancel()

    async def _hear(self, heard: "asyncio.Queue[Any]") -> None:
        """Read on while the model works: unread messages hold back the answers to pings, and a
        visitor without those is taken for gone."""
        received: Any = {"type": ""}
        while received["type"] != GONE:
            try:
                received = await self.socket.receive()
                self._heard = time.monotonic()
            except RuntimeError:  # there is nobody to hear any more
                received = {"type": GONE}
            await heard.put(received)

    async def _answer(self, received: Any) -> None:
        if received["type"] == GONE:
            raise WebSocketDisconnect(received.get("code", 1000))
        try:
            await self._follow(received)
        except (MessageError, Busy) as error:
            await self._tell({"type": "error", "message": str(error)})
        except (WebSocketDisconnect, RuntimeError):
            raise
        except ValueError as error:  # of the model, of what it was told
            text = " ".join(str(error).split())
            await self._tell({"type": "error", "message": text})
        except Exception:
            log.exception("a visit failed")
            await self._tell({"type": "error", "message": "The server failed; its log says why."})

    async def _follow(self, received: Any) -> None:
        file = received.get("bytes")
        if file is not None:  # a picture that was dropped on the page
            if len(file) > MOST_PICTURE:
                raise MessageError(f"Expected a picture of at most {MOST_PICTURE:,} bytes.")
            await self._begin({"type": "begin"}, file)
            return
        kind, told = read_message(received["text"])
        if kind == "begin":
            await self._begin(told)
        elif kind == "step":
            await self._step(told)
        else:
            await self._save()

    async def _begin(self, told: Any, file: bytes | None = None) -> None:
        form: Format = chosen(told.get("format", self.form), Format)
        data = told.get("picture") if file is None else file
        picture = None
        if data is not None:
            picture = await self.decoder.run(lambda: self.served.sent(data))
        walk = await self._model(lambda: self.served.begin(told, picture))
        self.walk, self.form, first = walk, form, walk.last
        domain = self.served.domain if walk.truth is None else None
        unlike = None if domain is None else await asyncio.to_thread(domain.unlike, first.imagined)
        outlines = [] if walk.truth is None else walk.truth.outlines()
        ready = {
            "type": "ready",
            "height": first.imagined.shape[0],
            "width": first.imagined.shape[1],
            "room": walk.truth is not None,
            "unlike": unlike,
            "outlines": [[o.corners.round(3).tolist(), list(o.colour)] for o in outlines],
        }
        await self._show(ready, first)

    async def _step(self, told: Any) -> None:
        walk = self._walking()
        actions = actions_of(told["actions"], walk.spec.width)
        walk.check(actions)  # all of them, before the first one is followed
        state, count, begun = told.get("state"), 0, False
        for action in actions:  # one by one, so that visitors take turns
            start = time.perf_counter()
            for seen in await self._model(partial(walk.step, action, state), begun):
                taken = round(time.perf_counter() - start, 4)
                await self._show(self._frame(walk, seen, taken), seen)
                count += 1
            state, begun = None, True
        waiting = walk.session.waiting
        await self._tell({"type": "done", "frames": count, "waiting": waiting})

    def _frame(self, walk: Walk, seen: Seen, seconds: float) -> dict[str, Any]:
        number = walk.session.num_frames
        pose, true_pose = (
            None if one is None else [round(value, 5) for value in one]
            for one in (seen.pose, seen.true_pose)
        )
        return {
            "type": "frame",
            "number": number,
            "pose": pose,
            "true_pose": true_pose,
            "stopped": seen.stopped,
            "words": seen.words,
            "seconds": seconds,
        }

    async def _save(self) -> None:
        walk = self._walking()
        film = await asyncio.to_thread(_film, walk)
        await self._tell({"type": "saved", "format": "mp4", "frames": len(walk.seen)})
        await self.socket.send_bytes(film)

    async def _model(self, job: Callable[[], R], begun: bool = False) -> R:
        """What a job of the model returns; a fault of the model ends no walk."""
        try:
            return await self.worker.run(job, begun)
        except (ValueError, Busy):  # of what it was told
            raise
        except Exception as error:
            log.exception("the model failed")
            raise MessageError("The model failed; the server's log says why.") from error

    def _walking(self) -> Walk:
        if self.walk is None:
            raise MessageError("Expected a message of type begin first.")
        return self.walk

    async def _show(self, told: dict[str, Any], seen: Seen) -> None:
        """A message and the pictures that it announces, each in a message of its own."""
        pictures = {"imagined": seen.imagined}
        if seen.truth is not None:
            pictures["truth"] = seen.truth
        await self._tell(told | {"pictures": list(pictures), "format": self.form})
        for picture in pictures.values():
            await self.socket.send_bytes(encoded(picture, self.form))

    async def _tell(self, told: dict[str, Any]) -> None:
        await self.socket.send_json(told)


def _film(walk: Walk) -> bytes:
    """One at a time: each takes memory and a core."""
    with _FILMING:
        return walk.film()
