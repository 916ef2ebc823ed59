"""Walks through rooms and pictures for minutes, and records the memory of `egowm walk`.

A server in a process of its own, and a visitor that holds keys, begins anew twice a minute, drops
pictures and now and then loses its connection. Memory is what the server's process has resident.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Record, benchmark, picked, positive, provenance
from benchmarks.tables.streaming import walking as table
from egowm.video import encode_image

KEYS = ([0.24, 0.0, 0.0], [0.0, 0.0, 0.084], [0.0, 0.0, -0.084], [0.24, 0.0, 0.05])
LASTS = 30.0  # seconds of one walk


def resident(process: int) -> float:
    """Megabytes that a process has in memory."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def cores(process: int) -> float:
    """Seconds of one core that a process has worked."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hear(socket: Any) -> dict[str, Any]:
    """The next message, its pictures left unlooked at."""
    told: dict[str, Any] = json.loads(socket.recv(timeout=120))
    for _ in range(1 if told["type"] == "saved" else len(told.get("pictures", ()))):
        socket.recv(timeout=120)
    if told["type"] == "error":
        raise ValueError(told["message"])
    return told


def walk_once(url: str, rng: random.Random, until: float) -> tuple[int, float]:
    """One visit: frames and seconds of stepping. Every third one goes away without a word."""
    from websockets.sync.client import connect

    count, taken = 0, 0.0
    with connect(url, proxy=None, max_size=None) as socket:
        if rng.random() < 0.3:
            pixels = np.random.default_rng(rng.randrange(1000)).integers(0, 256, (90, 120, 3))
            socket.send(encode_image(pixels.astype(np.uint8)))
        else:
            socket.send(json.dumps({"type": "begin", "room": rng.randrange(1000)}))
        hear(socket)
        while time.monotonic() < until:
            action, start = rng.choice(KEYS), time.monotonic()
            socket.send(json.dumps({"type": "step", "actions": [action] * 4}))
            while hear(socket)["type"] == "frame":
                count += 1
            taken += time.monotonic() - start
        if rng.random() < 0.5:
            socket.send(json.dumps({"type": "save"}))
            hear(socket)
        if rng.random() < 0.3:
            socket.socket.close()
    return count, taken


def options(add: Callable[..., Any]) -> None:
    add("--minutes", type=positive, default=20)


def run(arguments: argparse.Namespace) -> Record:
    """The record: megabytes after each walk, frames, and frames a second."""
    record = provenance(arguments.seed, "cpu")
    record["settings"] = picked(arguments, "minutes") | {"seconds_of_a_walk": LASTS}
    record["load_average"] = [round(os.getloadavg()[0], 2)]  # before, and after
    words = "-m egowm.commands.main walk --port 0 --device cpu"
    command = [sys.executable, *words.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        url = line.split()[2].replace("http", "ws") + "v1/walk"
        try:
            rng, begun = random.Random(arguments.seed), time.monotonic()
            busy = cores(server.pid)
            end, rows, frames = begun + 60 * arguments.minutes, [], 0
            while (now := time.monotonic()) < end:
                count, taken = walk_once(url, rng, min(end, now + LASTS))
                frames += count
                minutes = round((time.monotonic() - begun) / 60, 2)
                rate = round(count / taken, 2) if taken else None
                megabytes = round(resident(server.pid), 1)
                rows.append({"minutes": minutes, "megabytes": megabytes, "frames_a_second": rate})
            record["core_seconds_a_frame"] = (cores(server.pid) - busy) / max(1, frames)
        finally:
            server.terminate()
            record["status"] = server.wait(60)
    record["load_average"].append(round(os.getloadavg()[0], 2))
    return record | {"frames": frames, "rows": rows}


main = benchmark(__file__, __doc__, "walking.json", options, run, table, device=False)
if __name__ == "__main__":
    sys.exit(main())
