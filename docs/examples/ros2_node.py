"""A ROS 2 node that imagines: velocities in, pictures out, by the server of `egowm walk`.

    egowm walk --model EXPORT &
    python3 ros2_node.py --ros-args -p server:=ws://127.0.0.1:8750/v1/walk

It begins from the first picture on `camera/image_raw`, and anew from the next one after a message
on `imagined/again`. Then each tick of the model's rate takes the last `cmd_vel` as an action (dx,
dy, dyaw) and publishes what the robot would see on `imagined/image_raw`. It needs rclpy of your
ROS 2 distribution, and `pip install websockets pillow`.
"""

import base64
import io
import json
import urllib.request

import rclpy
from geometry_msgs.msg import Twist
from PIL import Image as Picture
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Empty
from websockets.sync.client import connect


class Imagined(Node):
    """Publishes imagined pictures at the model's rate."""

    def __init__(self) -> None:
        super().__init__("egowm_imagined")
        self.declare_parameter("server", "ws://127.0.0.1:8750/v1/walk")
        server = self.get_parameter("server").value
        about = server.replace("ws", "http", 1).replace("/v1/walk", "/v1/model")
        with urllib.request.urlopen(about) as answer:
            self.rate = json.load(answer)["rate_hz"]
        self.walk = connect(server, proxy=None).__enter__()
        self.command, self.has_begun = Twist(), False
        self.imagined = self.create_publisher(Image, "imagined/image_raw", 10)
        self.create_subscription(Image, "camera/image_raw", self.see, 1)
        self.create_subscription(Empty, "imagined/again", self.again, 1)
        self.create_subscription(Twist, "cmd_vel", self.steer, 1)
        self.create_timer(1 / self.rate, self.tick)

    def steer(self, command: Twist) -> None:
        """Metres and radians a second."""
        self.command = command

    def again(self, message: Empty) -> None:
        """Begin anew from the next picture of the camera."""
        self.has_begun = False

    def see(self, image: Image) -> None:
        """Begin from a picture of the camera, rgb8 or bgr8."""
        if self.has_begun:
            return
        if image.encoding not in ("rgb8", "bgr8"):
            self.get_logger().warning(f"Expected rgb8 or bgr8, got {image.encoding}.")
            return
        order = "BGR" if image.encoding == "bgr8" else "RGB"
        size = (image.width, image.height)
        picture = Picture.frombuffer("RGB", size, bytes(image.data), "raw", order, image.step, 1)
        file = io.BytesIO()
        picture.save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()
        self.tell({"type": "begin", "picture": data, "format": "raw"})
        self.has_begun = self.hear("ready") is not None

    def tick(self) -> None:
        """Act once, and publish the frames that come of it."""
        if not self.has_begun:
            return
        linear, angular = self.command.linear, self.command.angular
        action = [value / self.rate for value in (linear.x, linear.y, angular.z)]
        self.tell({"type": "step", "actions": [action]})
        while (told := self.hear("frame", "done")) is not None and told["type"] == "frame":
            self.publish(told["picture"])

    def tell(self, message: dict) -> None:
        """Send a message to the server."""
        self.walk.send(json.dumps(message))

    def hear(self, *kinds: str) -> dict | None:
        """The next message with its first picture; None, and a warning, for an error."""
        told = json.loads(self.walk.recv())
        pictures = [self.walk.recv() for _ in told.get("pictures", ())]
        if told["type"] not in kinds:
            self.get_logger().warning(told.get("message", told["type"]))
            return None
        if told["type"] == "ready":
            self.height, self.width = told["height"], told["width"]
        return told | ({"picture": pictures[0]} if pictures else {})

    def publish(self, data: bytes) -> None:
        """Publish the values of a frame, row by row."""
        image = Image()
        image.header.stamp = self.get_clock().now().to_msg()
        image.height, image.width, image.step = self.height, self.width, 3 * self.width
        image.encoding, image.data = "rgb8", data
        self.imagined.publish(image)


def main() -> None:
    rclpy.init()
    node = Imagined()
    try:
        rclpy.spin(node)
    finally:
        node.destroy_node()
        rclpy.shutdown()


if __name__ == "__main__":
    main()
