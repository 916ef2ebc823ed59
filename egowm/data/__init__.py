"""Robots' recordings as clips; one file per format."""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.clip import Clip
    from egowm.data.donkey_tub import DonkeyTub
    from egowm.data.droid import Droid
    from egowm.data.episode import Episode
    from egowm.data.humanoid import HumanoidHalls
    from egowm.data.imagined import ImaginedWriter
    from egowm.data.lerobot import LeRobot
    from egowm.data.lerobot_writer import LeRobotWriter
    from egowm.data.lit_data import LitData
    from egowm.data.mixture import Mixture
    from egowm.data.module import ClipData, Window
    from egowm.data.nwm import NWM
    from egowm.data.one_x import OneX
    from egowm.data.one_x_writer import OneXWriter
    from egowm.data.packed import Packed
    from egowm.data.recon import Recon
    from egowm.data.rooms import Rooms
    from egowm.data.tum_rgbd import TumRgbd
    from egowm.data.video_csv import VideoCSV
    from egowm.data.videos import Videos

__all__ = [
    "NWM",
    "Clip",
    "ClipData",
    "DonkeyTub",
    "Droid",
    "Episode",
    "HumanoidHalls",
    "ImaginedWriter",
    "LeRobot",
    "LeRobotWriter",
    "LitData",
    "Mixture",
    "OneX",
    "OneXWriter",
    "Packed",
    "Recon",
    "Rooms",
    "TumRgbd",
    "VideoCSV",
    "Videos",
    "Window",
]

__getattr__, __dir__ = face(__name__)
