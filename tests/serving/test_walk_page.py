"""The page in a real browser: keys, frames, the path, a video, another picture."""

import shutil
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.backbones import SVD
from egowm.serving.domain import Domain
from egowm.serving.served import Served
from egowm.video import encode_image, read_frames
from egowm.world_model import WorldModel
from tests.browser import chromium

selenium = pytest.importorskip("selenium", reason="no selenium here")
pytestmark = pytest.mark.slow
GREEN = encode_image(np.full((20, 20, 3), (0, 160, 0), np.uint8))


@pytest.fixture
def driver(tmp_path) -> Iterator[Any]:
    """Chromium without a window, that saves what it downloads in `downloads`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    program, drives = chromium(), shutil.which("chromedriver")
    if drives is None:
        pytest.skip("no chromedriver here: it comes with Chromium")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(word)
    downloads = {"download.default_directory": str(tmp_path / "downloads")}
    options.add_experimental_option("prefs", downloads)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(drives))
    made.set_page_load_timeout(60)
    try:
        yield made
    finally:
        made.quit()


def until(condition: Callable[[], Any], seconds: float = 40.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    assert found
    return found


class Page:
    """What a visitor sees and does."""

    def __init__(self, driver: Any, server: Any) -> None:
        self.driver = driver
        driver.get(f"http://{server.host}/")
        until(lambda: self.run("return document.body.dataset.frame !== undefined"))

    def run(self, code: str, *values: Any) -> Any:
        return self.driver.execute_script(code, *values)

    @property
    def frame(self) -> int:
        return int(self.run("return document.body.dataset.frame"))

    def settled(self) -> int:
        """The last frame's number: none is asked for, and none came for half a second."""
        until(lambda: not self.run("return isBusy"))
        before, now = -1, self.frame
        while now != before:
            time.sleep(0.5)
            before, now = now, self.frame
        return now

    def key(self, kind: str, key: str) -> None:
        code = "dispatchEvent(new KeyboardEvent(arguments[0], {key: arguments[1], bubbles: true}))"
        self.run(code, kind, key)

    def walk(self, *keys: str, frames: int) -> None:
        """Hold keys until so many frames more are there."""
        wanted = self.frame + frames
        for key in keys:
            self.key("keydown", key)
        until(lambda: self.frame >= wanted)
        for key in keys:
            self.key("keyup", key)

    def drop(self, file: bytes) -> None:
        """Drop a file on the page."""
        code = """
            const data = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([data], "a.png", {type: "image/png"}));
            dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
        """
        self.run(code, b64encode(file).decode())

    def pixels(self, name: str = "imagined") -> np.ndarray:
        code = (
            "const c = document.getElementById(arguments[0]);"
            "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        )
        return np.array(self.run(code, name))

    def text(self, name: str) -> str:
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def faults(self) -> list[str]:
        log = self.driver.get_log("browser")
        return [one["message"] for one in log if one["level"] == "SEVERE"]


@pytest.fixture
def frame_by_frame(obedient) -> WorldModel:
    obedient.chunk, obedient.steps = 1, 1
    return obedient


def test_a_visitor_walks_in_a_room(driver, start, frame_by_frame, tmp_path):
    page = Page(driver, start(Served(frame_by_frame, (16, 16))))
    first, truth = page.pixels(), page.pixels("truth")
    assert page.text("way") == "0.0 m, no turn"
    page.walk("w", frames=4)
    assert np.abs(page.pixels() - first).mean() > 1
    assert np.abs(page.pixels("truth") - truth).mean() > 1
    assert page.text("way").startswith("1.")  # metres: 0.24 of each key
    assert page.text("way").endswith("no turn")
    page.walk("ArrowUp", "ArrowLeft", frames=4)
    metres, turn = page.text("way").split(" m, ")
    assert float(metres) >= 1.9
    assert turn.endswith("° left")
    still = page.settled()
    assert page.run("return above.ways.truth.length") == still + 1
    time.sleep(1)
    assert page.frame == still  # nothing moves without a key
    page.run("document.getElementById('save').click()")
    film = tmp_path / "downloads/walk.mp4"
    until(film.is_file)
    assert len(read_frames(film)) == still + 1
    page.run("document.getElementById('room').click()")
    until(lambda: page.frame == 0)
    assert not np.array_equal(page.pixels("truth"), truth)
    assert page.faults() == []


@pytest.mark.long
def test_another_picture_is_dropped(driver, start, frame_by_frame):
    """And is said to be unlike those that the model learned from; the simulator goes."""
    page = Page(driver, start(Served(frame_by_frame, (16, 16), domain=Domain.of_rooms())))
    assert page.run("return document.getElementById('unlike').hidden")
    first = page.pixels()
    page.drop(GREEN)
    until(lambda: not page.run("return document.getElementById('unlike').hidden"))
    assert "unlike those that the model learned from" in page.text("unlike")
    assert page.run("return document.getElementById('truth-figure').hidden")
    assert page.pixels()[:4].tolist() == [0, 160, 0, 255]
    assert not np.array_equal(page.pixels(), first)
    page.walk("w", frames=2)
    page.drop(b"no picture")
    until(lambda: "Expected a PNG" in page.text("notice"))
    page.drop(bytes(17 << 20))  # more than a message of the websocket may hold ends it
    until(lambda: "Expected a picture of at most 16 MB, got 17 MB" in page.text("notice"))
    page.run('dispatchEvent(new DragEvent("drop", {dataTransfer: new DataTransfer()}))')
    until(lambda: page.text("notice") == "Expected the file of a picture.")
    page.walk("d", frames=2)  # the walk goes on
    assert page.faults() == []


def test_keys_drive_after_a_setting_was_changed(driver, start, frame_by_frame):
    """What was clicked last keeps the focus, but not the keys."""
    from selenium.webdriver import ActionChains

    page = Page(driver, start(Served(frame_by_frame, (16, 16))))
    focus = "document.getElementById(arguments[0]).focus();"
    choose = "const s = document.activeElement; s.value = 0; s.dispatchEvent(new Event('change'))"
    for name, code in (("pixels", ""), ("file", ""), ("speed", choose)):
        page.run(focus + code, name)
        before = page.frame
        ActionChains(driver).key_down("d").perform()  # at what has the focus
        until(lambda before=before: page.frame > before)
        ActionChains(driver).key_up("d").perform()
    assert page.run("return document.getElementById('speed').value") == "0"
    for key in ('"', "\\"):  # which stand for nothing
        page.key("keydown", key), page.key("keyup", key)
    assert page.faults() == []


def test_touch_and_a_telephone(driver, start, frame_by_frame, picture):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    named = [(f"a picture of which the name is long, number {k}.png", picture) for k in range(2)]
    page = Page(driver, start(Served(frame_by_frame, (16, 16), named)))
    wide = "return document.documentElement.scrollWidth"
    assert page.run(wide) <= 390
    press = """
        const pad = document.querySelector('#pad [data-key="' + arguments[1] + '"]');
        pad.setPointerCapture = () => {};
        pad.dispatchEvent(new PointerEvent(arguments[0], {pointerId: 1, bubbles: true}));
    """
    page.run(press, "pointerdown", "e")
    until(lambda: page.frame >= 2)
    page.run(press, "pointerup", "e")
    assert page.text("way").endswith("° right")
    assert not page.run("return held.size")


@pytest.mark.long
def test_sliders_of_a_body_of_25_dimensions(driver, start, tiny_prior, picture):
    names = (*(f"joint {k}" for k in range(24)), "speed")
    units = ("rad",) * 24 + ("m/s",)
    body = ActionSpec(names, units, "joint", "difference", 5.0, (-0.5,) * 25, (0.5,) * 25)
    model = WorldModel(SVD(str(tiny_prior)), steps=1, chunk=2, spec=body, state_spec=body)
    model.configure_model()
    page = Page(driver, start(Served(model.eval(), (16, 16), [("here", picture)])))
    assert page.run("return document.querySelectorAll('#sliders input').length") == 25
    assert page.run("return document.getElementById('pad').hidden")
    assert "middle of its range" in page.text("hint")
    shown = "return document.querySelectorAll('#sliders .slider')[3].textContent"
    ends = "-0.5000.500"  # of its range
    assert page.run(shown) == "joint 30.000 rad (0.0°)" + ends
    move = "const s = document.querySelectorAll('#sliders input')[3]; s.value = 0.25; s.oninput()"
    page.run(move)
    assert page.run(shown) == "joint 30.250 rad (14.3°)" + ends
    page.run("document.getElementById('step').click()")
    until(lambda: page.frame == 2)
    assert "joint 3 0.25 rad" in page.text("words")
    assert page.faults() == []


@pytest.mark.long
def test_a_visitor_comes_back_when_the_server_does(driver, start, frame_by_frame):
    served = Served(frame_by_frame, (16, 16))
    first = start(served)
    page = Page(driver, first)
    page.walk("w", frames=1)
    first.stop()
    until(lambda: "connection is lost" in page.text("notice"))
    page.drop(GREEN)  # and begins where he wants to go meanwhile
    start(served, port=int(first.host.rpartition(":")[2]))
    until(lambda: page.run("return document.getElementById('notice').hidden"))
    until(lambda: page.run("return document.getElementById('truth-figure').hidden"))
    assert page.pixels()[:4].tolist() == [0, 160, 0, 255]
    page.walk("w", frames=1)


@pytest.mark.long
def test_a_page_that_rested_comes_again_when_it_is_used(driver, start, frame_by_frame, monkeypatch):
    monkeypatch.setattr("egowm.serving.app.REST", 0.5)
    running = start(Served(frame_by_frame, (16, 16)), visitors=1)
    page = Page(driver, running)
    page.walk("w", frames=1)
    time.sleep(0.6)
    with running.walk() as other:
        until(lambda: "another visitor came" in page.text("notice"))
        time.sleep(2.5)  # it does not come by itself
        assert other.ping().wait(5)
        assert running.visitors == 1
    page.walk("w", frames=1)
    assert page.text("notice") == ""


def test_nothing_is_loaded_from_elsewhere():
    here = Path(__file__).parent.parent.parent / "egowm/serving"
    for name in ("page.html", "page.css", "page.js", "map.js"):
        text = (here / name).read_text(encoding="utf-8")
        assert "http://" not in text.replace('"http:"', "")
        assert "https://" not in text
        assert "@import" not in text
