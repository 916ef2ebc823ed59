"""The ROS 2 node of docs/examples, over stand-ins of ROS's messages and node."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.serving.test_server import expected

NODE = Path(__file__).parent.parent.parent / "docs/examples/ros2_node.py"


class Message(SimpleNamespace):
    """A message whose fields are made when they are first looked at."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = Message()
        setattr(self, name, made)
        return made


class Node:
    """As much of rclpy's node as is used."""

    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str) -> None:
        self.published: list[Any] = []
        self.warned: list[str] = []
        self.heard: dict[str, Any] = {}

    def declare_parameter(self, name, value):
        self.settings.setdefault(name, value)

    def get_parameter(self, name):
        return SimpleNamespace(value=self.settings[name])

    def create_publisher(self, kind, topic, depth):
        return SimpleNamespace(publish=self.published.append)

    def create_subscription(self, kind, topic, call, depth):
        self.heard[topic] = call

    def create_timer(self, seconds, call):
        self.seconds, self.heard["timer"] = seconds, call

    def get_logger(self):
        return SimpleNamespace(warning=self.warned.append)

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: 7))


@pytest.fixture
def node(monkeypatch, start, obedient):
    """The node, connected to a server of the tiny model made frame by frame."""
    from egowm.serving.served import Served

    obedient.chunk = 1
    server = start(Served(obedient, (16, 16)))
    numbers = SimpleNamespace(x=0.0, y=0.0, z=0.0)
    twist = lambda: SimpleNamespace(linear=numbers, angular=SimpleNamespace(z=0.0))  # noqa: E731
    modules = {
        "rclpy": {},
        "rclpy.node": {"Node": Node},
        "geometry_msgs": {},
        "geometry_msgs.msg": {"Twist": twist},
        "sensor_msgs": {},
        "sensor_msgs.msg": {"Image": Message},
        "std_msgs": {},
        "std_msgs.msg": {"Empty": Message},
    }
    for name, values in modules.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Node, "settings", {"server": f"ws://{server.host}/v1/walk"})
    spec = importlib.util.spec_from_file_location("ros2_node", NODE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.Imagined()
    yield made
    made.walk.close()


@pytest.mark.parametrize("encoding", ["bgr8", pytest.param("rgb8", marks=pytest.mark.long)])
def test_commands_become_pictures(node, obedient, picture, encoding):
    assert node.seconds == 0.25
    node.tick()
    assert not node.published  # no picture to begin from yet
    values = picture if encoding == "rgb8" else picture[..., ::-1]
    height, width = picture.shape[:2]
    camera = Message(
        height=height, width=width, step=3 * width, encoding=encoding, data=values.tobytes()
    )
    node.heard["camera/image_raw"](Message(encoding="mono8"))
    assert node.warned.pop() == "Expected rgb8 or bgr8, got mono8."
    node.heard["camera/image_raw"](camera)
    velocity = SimpleNamespace(
        linear=SimpleNamespace(x=0.8, y=0.0), angular=SimpleNamespace(z=-0.2)
    )
    node.heard["cmd_vel"](velocity)
    for _ in range(3):
        node.heard["timer"]()
    shown = [np.frombuffer(one.data, np.uint8).reshape(16, 16, 3) for one in node.published]
    assert np.array_equal(np.stack(shown), expected(obedient, picture, [[0.2, 0.0, -0.05]] * 3))
    assert (node.published[0].step, node.published[0].encoding) == (48, "rgb8")
    node.heard["cmd_vel"](
        SimpleNamespace(linear=SimpleNamespace(x=99.0, y=0.0), angular=velocity.angular)
    )
    node.heard["timer"]()
    assert "beyond 1.5 times the training range" in node.warned[0]
    assert len(node.published) == 3
    node.heard["imagined/again"](Message())
    node.heard["timer"]()
    assert len(node.published) == 3
    node.heard["camera/image_raw"](camera)
    node.heard["cmd_vel"](velocity)
    node.heard["timer"]()
    assert node.published[3].data == node.published[0].data
