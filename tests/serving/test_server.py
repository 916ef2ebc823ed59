"""The server: frames are the model's, visitors do not disturb each other, nothing ends it."""

import asyncio
import base64
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from socket import SHUT_RDWR, create_connection

import numpy as np
import pytest
import torch
from websockets.exceptions import ConnectionClosedError

from egowm.picture_file import decode_image
from egowm.pixels import to_uint8
from egowm.sampling import Sampling
from egowm.serving import served
from egowm.serving.served import Served
from egowm.serving.visit import GAVE_WAY, Visit
from egowm.serving.walk import Walk
from egowm.video import read_frames, resize, video_rate
from tests.serving.talk import hear, step, tell

AHEAD = [0.2, 0.0, 0.05]


def fitted(picture: np.ndarray) -> np.ndarray:
    return resize(picture[None], 16, 16, crop=True)[0]


def expected(model, picture, actions, seed=0) -> np.ndarray:
    """The frames (T, H, W, 3) of one rollout."""
    generator = torch.Generator().manual_seed(seed)
    return to_uint8(model.rollout(fitted(picture), actions, generator=generator).frames[0])


def later(seconds: float):
    """A job of the worker that takes a while and is asked for by nobody."""
    loop = asyncio.new_event_loop()
    return lambda: time.sleep(seconds), loop, loop.create_future()


def test_what_the_model_is(server):
    status, told = server.ask("/v1/model")
    assert status == 200
    assert (told["block"], told["rate_hz"], told["height"]) == (4, 4.0, 16)
    assert told["names"] == ["dx", "dy", "dyaw"]
    assert told["keys"]["w"] == pytest.approx([0.24, 0.0, 0.0])
    assert told["visitors"] == 0


def test_a_walk_is_a_rollout(server, obedient, picture, file):
    """Told action by action; block after block comes as the model makes it."""
    with server.walk() as socket:
        tell(socket, "begin", picture=file, seed=3)
        ready, (first,) = hear(socket)
        assert (ready["type"], ready["room"], ready["unlike"]) == ("ready", False, None)
        assert np.array_equal(decode_image(first), fitted(picture))
        heard = [step(socket, [AHEAD]) for _ in range(8)]
    assert [len(one) - 1 for one in heard] == [0, 0, 0, 4] * 2
    assert [one[-1][0]["waiting"] for one in heard] == [1, 2, 3, 0] * 2
    frames = [(told, picture) for one in heard for told, picture in one if picture]
    shown = np.stack([decode_image(pictures[0]) for _, pictures in frames])
    wanted = expected(obedient, picture, [AHEAD] * 8, seed=3)
    assert np.array_equal(shown, wanted)
    assert [told["number"] for told, _ in frames][-1] == 8
    assert frames[0][0]["pose"] == pytest.approx([0.2, 0.0, 0.05])
    assert frames[7][0]["pose"][2] == pytest.approx(0.4)
    assert frames[0][0]["words"] == "0.20 m ahead, 2.9° left"


def test_the_simulator_walks_beside_it(server):
    from egowm.evaluation.navigation import simulate
    from egowm.worlds import Camera, Room
    from egowm.worlds.motion import find_start

    seed = 20_000_003
    room = Room(seed)
    pose = find_start(room, np.random.default_rng([seed, 7]))
    with server.walk() as socket:
        tell(socket, "begin", room=3)
        ready, _ = hear(socket)
        assert ready["pictures"] == ["imagined", "truth"]
        assert len(ready["outlines"]) > 10
        heard = step(socket, [AHEAD] * 4)
    pose = simulate(room, pose, [np.array(AHEAD, np.float32)] * 4)
    truth = room.render(Camera(pose[0], pose[1], 0.6, pose[2]), 16, 16).rgb
    assert np.array_equal(decode_image(heard[3][1][1]), truth)
    assert heard[3][0]["true_pose"] == pytest.approx(heard[3][0]["pose"], abs=1e-4)
    assert not np.array_equal(decode_image(heard[3][1][0]), truth)


@pytest.mark.long
def test_two_visitors_walk_as_if_alone(server, obedient, picture, file):
    with server.walk() as one, server.walk() as two:
        tell(one, "begin", picture=file, seed=1)
        tell(two, "begin", picture=file, seed=2)
        hear(one), hear(two)
        assert server.visitors == 2
        for socket in (one, two):
            tell(socket, "step", actions=[AHEAD] * 8)
        found = [[hear(socket)[1][0] for _ in range(8)] for socket in (one, two)]
    for seed, frames in zip((1, 2), found, strict=True):
        wanted = expected(obedient, picture, [AHEAD] * 8, seed)
        assert np.array_equal(np.stack([decode_image(frame) for frame in frames]), wanted)


def slow_pictures(monkeypatch) -> tuple[threading.Event, threading.Event]:
    """Pictures take as long to decode as the second event is not set; the first one begins."""
    has_begun, go, decode = threading.Event(), threading.Event(), served.picture_of

    def slow(data):
        has_begun.set()
        return go.wait(30) and decode(data)

    monkeypatch.setattr(served, "picture_of", slow)
    return has_begun, go


def test_a_large_picture_holds_up_no_other_walk(server, file, monkeypatch):
    has_begun, go = slow_pictures(monkeypatch)
    with server.walk() as other, server.walk() as one:
        tell(one, "begin", room=0)
        hear(one)
        tell(other, "begin", picture=file)
        assert has_begun.wait(20)
        frames = step(one, [AHEAD] * 4)
        go.set()
        assert [told["type"] for told, _ in frames] == ["frame"] * 4 + ["done"]
        assert hear(other)[0]["type"] == "ready"


def until(condition, seconds=20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_a_lost_connection_frees_the_walk(server, file):
    with server.walk() as socket:
        tell(socket, "begin", picture=file)
        hear(socket)
        tell(socket, "step", actions=[AHEAD] * 64)
        hear(socket)
        socket.socket.shutdown(SHUT_RDWR)  # without a word, in the middle of frames
    assert until(lambda: server.visitors == 0)
    with server.walk() as again:
        tell(again, "begin", picture=file)
        assert hear(again)[0]["type"] == "ready"


def test_pings_are_heard_while_messages_wait(server, monkeypatch):
    """Who speaks ahead of a slow model is not taken for gone."""
    go, work = threading.Event(), Walk.step
    monkeypatch.setattr(Walk, "step", lambda *given: go.wait(30) and work(*given))
    with server.walk() as socket:
        tell(socket, "begin", room=0)
        hear(socket)
        for _ in range(3):
            tell(socket, "step", actions=[AHEAD])
            time.sleep(0.1)  # or all of them arrive at once
        assert socket.ping().wait(10)
        go.set()
        assert [hear(socket)[0]["waiting"] for _ in range(3)] == [1, 2, 3]


def test_who_comes_when_it_is_full_is_told_so(start, obedient):
    full = start(Served(obedient, (16, 16)), visitors=1)
    with full.walk() as one:
        tell(one, "begin", room=1)
        hear(one)
        with full.walk() as two:
            assert "Full: 1 walk here" in hear(two)[0]["message"]
    assert until(lambda: full.visitors == 0)


def test_a_walk_that_rests_gives_way(start, obedient, monkeypatch):
    monkeypatch.setattr("egowm.serving.app.REST", 0.5)
    full = start(Served(obedient, (16, 16)), visitors=1)
    with full.walk() as one:
        tell(one, "begin", room=1)
        hear(one)
        time.sleep(0.6)
        with full.walk() as two:
            assert "another visitor came" in hear(one)[0]["message"]
            with pytest.raises(ConnectionClosedError):
                one.recv(timeout=10)
            assert one.close_code == GAVE_WAY
            tell(two, "begin", room=1)
            assert hear(two)[0]["type"] == "ready"
            assert full.visitors == 1


def test_actions_of_one_step_wait_for_their_turn(start, obedient, monkeypatch):
    """A queue that is full in between refuses new work alone."""
    served = Served(obedient, (16, 16), block=4)
    running = start(served)
    run, work = running.worker.run, Walk.step
    begun: list[bool] = []
    monkeypatch.setattr(running.worker, "run", lambda job, b=False: begun.append(b) or run(job, b))
    go, waits = threading.Event(), threading.Event()
    monkeypatch.setattr(Walk, "step", lambda *given: waits.set() or (go.wait(30) and work(*given)))
    with running.walk() as socket:
        tell(socket, "begin", room=0)
        hear(socket)
        tell(socket, "step", actions=[AHEAD] * 8)
        assert waits.wait(20)
        while not running.worker._jobs.full():  # by the time the next action is told
            with suppress(queue.Full):
                running.worker._jobs.put_nowait(later(0.02))
        go.set()
        heard = [hear(socket)[0]["type"] for _ in range(9)]
    assert heard == ["frame"] * 8 + ["done"]
    assert begun == [False, False, *[True] * 7]


def test_the_walk_is_saved_as_a_video(server, tmp_path, monkeypatch):
    """Imagined, true and from above, drawn in parts."""
    monkeypatch.setattr("egowm.serving.walk.PART", 4)
    with server.walk() as socket:
        tell(socket, "begin", room=3)
        hear(socket)
        step(socket, [AHEAD] * 8)
        tell(socket, "save")
        told, (film,) = hear(socket)
    assert (told["frames"], told["format"]) == (9, "mp4")
    path = tmp_path / "walk.mp4"
    path.write_bytes(film)
    frames = read_frames(path)
    assert video_rate(path) == 4.0
    assert len(frames) == 9
    assert frames.shape[2] > 3 * 190
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 1


def test_a_walk_keeps_its_last_frames_alone(server, monkeypatch):
    monkeypatch.setattr("egowm.serving.walk.KEPT", 6)
    with server.walk() as socket:
        tell(socket, "begin", room=3)
        hear(socket)
        step(socket, [AHEAD] * 12)
        tell(socket, "save")
        assert hear(socket)[0]["frames"] == 6


def test_a_step_that_cannot_be_followed_whole_is_not_begun(start, obedient, picture, file):
    """Not even the actions before the one that is refused."""
    running = start(Served(obedient, (16, 16), block=1))
    obedient.chunk = 1
    with running.walk() as socket:
        tell(socket, "begin", picture=file, seed=3)
        hear(socket)
        ((told, _),) = step(socket, [AHEAD, [9.0, 0.0, 0.0], AHEAD])
        assert "beyond 1.5 times the training range" in told["message"]
        (frame, (shown,)), _ = step(socket, [AHEAD])
    assert frame["number"] == 1
    assert np.array_equal(decode_image(shown), expected(obedient, picture, [AHEAD], 3)[0])


# POST /v1/rollout --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["png", "raw"])
def test_a_rollout_over_http(server, obedient, picture, file, form):
    futures = [[AHEAD] * 5, [[0.0, 0.0, 0.1]] * 5]
    asked = {"picture": file, "actions": futures, "seed": 7, "steps": 2, "format": form}
    status, told = server.ask("/v1/rollout", asked)
    assert status == 200
    generator = torch.Generator().manual_seed(7)
    made = obedient.rollout(
        fitted(picture), torch.tensor(futures), Sampling(steps=2), generator=generator
    )
    for future, frames in zip(made.frames, told["frames"], strict=True):
        data = [base64.b64decode(frame) for frame in frames]
        shown = [
            decode_image(one) if form == "png" else np.frombuffer(one, np.uint8).reshape(16, 16, 3)
            for one in data
        ]
        assert np.array_equal(np.stack(shown), to_uint8(future))


@pytest.mark.long
def test_futures_come_in_parts(server, obedient, picture, file, monkeypatch):
    """In turns with the walks; the frames are those of a rollout in as many micro-batches."""
    monkeypatch.setattr("egowm.serving.served.MOST_AT_ONCE", 8)
    futures = [[[0.02 * n, 0.0, 0.1]] * 4 for n in range(5)]
    told = server.ask("/v1/rollout", {"picture": file, "actions": futures, "format": "raw"})[1]
    made = obedient.rollout(
        fitted(picture),
        torch.tensor(futures),
        Sampling(micro_batch=2),
        generator=torch.Generator().manual_seed(0),
    )
    shown = [[np.frombuffer(base64.b64decode(f), np.uint8) for f in one] for one in told["frames"]]
    assert np.array_equal(
        np.array(shown).reshape(5, 4, 16, 16, 3),
        to_uint8(made.frames.flatten(0, 1)).reshape(5, 4, 16, 16, 3),
    )


def test_a_rollout_ends_with_its_asker(server, obedient, file, monkeypatch):
    """Between parts, and nothing of it is imagined after that."""
    monkeypatch.setattr("egowm.serving.served.MOST_AT_ONCE", 1)
    started, go, made = threading.Event(), threading.Event(), []
    work = type(obedient).rollout

    def slow(self, *given, **options):
        started.set()
        made.append(go.wait(30))
        return work(self, *given, **options)

    monkeypatch.setattr(type(obedient), "rollout", slow)
    body = json.dumps({"picture": file, "actions": [[AHEAD] * 4] * 10}).encode()
    asking = HTTPConnection(server.host)
    asking.request("POST", "/v1/rollout", body)
    assert started.wait(20)
    asking.close()
    time.sleep(0.3)  # until the server has heard of it
    go.set()
    assert until(lambda: server.worker._jobs.empty())
    time.sleep(0.3)
    assert len(made) < 3


def test_nothing_is_imagined_for_who_went_while_waiting(server, obedient, file, monkeypatch):
    made: list[str] = []
    monkeypatch.setattr(type(obedient), "rollout", lambda *given, **options: made.append("frames"))
    server.worker._jobs.put_nowait(later(1.5))
    asking = HTTPConnection(server.host)
    asking.request("POST", "/v1/rollout", json.dumps({"picture": file, "actions": [[AHEAD]]}))
    assert until(lambda: server.worker._jobs.qsize() == 1)
    asking.close()
    assert until(lambda: server.worker._jobs.empty())
    time.sleep(0.3)
    assert made == []


def test_only_the_last_frame(server, file):
    asked = {"picture": file, "actions": [[AHEAD] * 5] * 2, "frames": "last", "format": "jpeg"}
    frames = server.ask("/v1/rollout", asked)[1]["frames"]
    assert [len(future) for future in frames] == [1, 1]
    assert base64.b64decode(frames[0][0])[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": []}, "sequences of actions of one length, at most 1024"),
        ({"actions": [[AHEAD], [AHEAD] * 2]}, "of one length"),
        ({"actions": [[AHEAD] * 1025]}, "at most 1024"),
        ({"actions": [[[0.1, 0.2]]]}, "actions of 3 numbers each, got one of 2"),
        ({"actions": [[AHEAD] * 34_000]}, "at most 100,000 values in a message"),
        ({"actions": [[[9.0, 0.0, 0.0]]]}, "beyond 1.5 times the training range"),
        ({"actions": [[[1e300, 0.0, 0.0]]]}, "is not a finite number"),
        ({"actions": [[[10**400, 0.0, 0.0]]]}, "a whole number has at most 18 digits"),
        ({"actions": [[["a", 0.0, 0.0]]]}, r"actions[0][0][0]: expected a number"),
        ({"picture": "%%%"}, "in base64"),
        ({"picture": "aGVsbG8="}, "Expected a PNG, JPEG or WebP"),
        ({"seed": -1}, "seed from 0"),
        ({"steps": 101}, "steps from 0 to 100"),
        ({"steps": 0}, "at least 1 sampling step"),
        ({"guidance": -1e308}, "guidance from -100 to 100"),
        ({"format": "gif"}, "one of png, jpeg, raw"),
        ({"colour": 1}, "Expected the keys picture, actions"),
        ({"source": "nowhere"}, "Unknown source"),
        ({"state": [1.0]}, "embeds no state"),
    ],
)
def test_a_wrong_request_is_told_in_a_sentence(server, file, change, message):
    status, told = server.ask("/v1/rollout", {"picture": file, "actions": [[AHEAD]]} | change)
    assert status == 400
    assert message in told["error"]
    assert "\n" not in told["error"]


def test_wrong_actions_are_told_before_the_picture_is_decoded(server, file, monkeypatch):
    decoded = []
    monkeypatch.setattr(Served, "sent", lambda *given: decoded.append(given))
    status, told = server.ask("/v1/rollout", {"picture": file, "actions": [[[1.0]]]})
    assert (status, decoded) == (400, [])
    assert "actions of 3 numbers each, got one of 1" in told["error"]


def test_an_answer_has_a_size(server, file, monkeypatch):
    monkeypatch.setattr("egowm.serving.served.MOST_ANSWER", 3 * 16 * 16 * 3)
    asked = {"picture": file, "actions": [[AHEAD] * 4]}
    status, told = server.ask("/v1/rollout", asked)
    assert (status, told["error"].partition(":")[0]) == (
        400, "Expected at most 3 frames of this size in one answer, got 4"
    )  # fmt: skip
    assert server.ask("/v1/rollout", asked | {"frames": "last"})[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"a": NaN}', b"[1]"])
def test_what_is_no_request(server, body):
    status, told = server.ask("/v1/rollout", body)
    assert status == 400
    assert told["error"].startswith("Expected")


@pytest.mark.parametrize(
    ("path", "told", "status"), [("/nowhere", None, 404), ("/v1/rollout", None, 405)]
)
def test_what_is_not_served_is_told_in_a_sentence(server, path, told, status):
    found, answer = server.ask(path, told)
    assert found == status
    assert "expected GET /, GET /v1/model, POST /v1/rollout" in answer["error"]


def test_an_asker_who_goes_while_asking_is_no_fault(server, caplog):
    host, _, port = server.host.partition(":")
    with create_connection((host, int(port))) as asking:
        head = f"POST /v1/rollout HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 99\r\n\r\n"
        asking.sendall(head.encode() + b"{")
        time.sleep(0.3)  # until it is read on
    assert server.visitors == 0
    time.sleep(0.2)
    assert "a request failed" not in caplog.text


def test_a_full_queue_is_busy(server, file, monkeypatch):
    """While one long job runs and as many wait as may, others are told so at once."""
    go = threading.Event()
    monkeypatch.setattr(Served, "rollout", lambda self, *_: ({"waited": go.wait(30)}, iter(())))
    asked = {"picture": file, "actions": [[AHEAD]]}
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(server.ask("/v1/rollout", asked)[0]))
        for _ in range(17)
    ]
    for thread in threads:
        thread.start()
    assert until(lambda: server.worker._jobs.qsize() == 16)
    status, told = server.ask("/v1/rollout", asked)
    assert (status, told["error"]) == (503, "The model is busy: try again later.")
    go.set()
    for thread in threads:
        thread.join(30)
    assert found == [200] * 17


def test_a_full_queue_of_pictures_is_busy(server, file, monkeypatch):
    """A walk goes on beside it; a picture whose turn has not come holds no thread."""
    has_begun, go = slow_pictures(monkeypatch)
    with server.walk() as one, server.walk() as two, server.walk() as other:
        tell(one, "begin", picture=file)
        assert has_begun.wait(20)
        threads = threading.active_count()
        tell(two, "begin", picture="aGVsbG8=")
        assert until(lambda: server.decoder._jobs.qsize() == 1)
        for _ in range(15):
            server.decoder._jobs.put_nowait(later(0))
        tell(other, "begin", picture=file)
        assert hear(other)[0]["message"] == "The decoder of pictures is busy: try again later."
        tell(other, "begin", room=0)
        assert hear(other)[0]["type"] == "ready"
        assert threading.active_count() <= threads + 1
        go.set()
        assert hear(one)[0]["type"] == "ready"
        assert "Expected a PNG, JPEG or WebP" in hear(two)[0]["message"]


def test_the_end_waits_for_no_picture(server, file, monkeypatch):
    """Neither for one that is being decoded nor for those whose turn has not come."""
    has_begun, go = slow_pictures(monkeypatch)
    with server.walk() as one, server.walk() as two:
        tell(one, "begin", picture=file)
        assert has_begun.wait(20)
        tell(two, "begin", picture=file)
        assert until(lambda: server.decoder._jobs.qsize() == 1)
        server.server.should_exit = True
        server.thread.join(10)
        assert not server.thread.is_alive()
    go.set()


def test_the_end_waits_for_no_model(server, file, monkeypatch, caplog):
    """Walks and requests that wait for it end without a traceback."""
    go, has_begun = threading.Event(), threading.Event()
    monkeypatch.setattr(Served, "begin", lambda *given: has_begun.set() or go.wait(30))
    server.server.config.timeout_graceful_shutdown = 1
    found: list[int] = []
    asked = {"picture": file, "actions": [[AHEAD]]}

    def ask() -> None:
        with suppress(OSError, HTTPException):
            found.append(server.ask("/v1/rollout", asked)[0])

    with server.walk() as socket:
        tell(socket, "begin", room=0)
        assert has_begun.wait(20)
        asking = threading.Thread(target=ask)
        asking.start()
        assert until(lambda: server.worker._jobs.qsize() == 1)
        server.server.should_exit = True
        server.thread.join(20)
        assert not server.thread.is_alive()
    asking.join(20)
    go.set()
    assert found in ([], [503])
    assert "Exception in ASGI application" not in caplog.text


# Who may speak to it -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Host": "[::1"}, "127.0.0.1 or localhost"),
        ({"Origin": "http://["}, "no page of another site"),
        ({"Host": "evil.example"}, "127.0.0.1 or localhost"),
        ({"Origin": "http://evil.example"}, "no page of another site"),
        ({"Origin": "null"}, "no page of another site"),
    ],
)
def test_other_sites_are_refused(server, headers, message):
    status, told = server.ask("/v1/model", headers=headers)
    assert status == 403
    assert message in told["error"]


def test_a_page_of_another_site_cannot_walk(server):
    with server.walk(origin="http://evil.example") as socket:
        assert "another site" in hear(socket)[0]["message"]
    with server.walk(origin=f"http://{server.host}") as socket:
        tell(socket, "begin", room=0)
        assert hear(socket)[0]["type"] == "ready"


def test_a_token_is_asked_for(start, obedient):
    closed = start(Served(obedient, (16, 16)), token="secret")
    assert closed.ask("/v1/model")[0] == 403
    assert closed.ask("/v1/model?token=secre")[0] == 403
    assert closed.ask("/v1/model?token=secret")[0] == 200
    assert closed.ask("/v1/model", headers={"Authorization": "Bearer secret"})[0] == 200
    assert closed.ask("/v1/model", headers={"Authorization": "Bearer x"})[0] == 403
    with closed.walk() as socket:
        assert "Expected the token" in hear(socket)[0]["message"]
    with closed.walk("?token=secret") as socket:
        tell(socket, "begin", room=0)
        assert hear(socket)[0]["type"] == "ready"


# The command --------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_cleanly(number):
    """With a visitor that walks, with status 0 and without a traceback."""
    command = [sys.executable, "-m", "egowm.commands.main", "walk", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("Walk at http://127.0.0.1:")
        from websockets.sync.client import connect

        url = line.split()[2].replace("http", "ws") + "v1/walk"
        with connect(url, proxy=None) as socket:
            tell(socket, "begin")
            hear(socket)
            tell(socket, "step", actions=[AHEAD] * 64)
            hear(socket)
            os.kill(process.pid, number)
            _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_a_connection_that_cannot_be_heard_ends_its_visit():
    """It would wait for a message for ever, and keep its place."""

    class Deaf:
        async def receive(self):
            raise RuntimeError("not connected")

    async def ended() -> bool:
        serving = asyncio.create_task(Visit(Deaf(), None, None, None).serve())
        done, _ = await asyncio.wait([serving], timeout=2)
        serving.cancel()
        return bool(done)

    assert asyncio.run(ended())
