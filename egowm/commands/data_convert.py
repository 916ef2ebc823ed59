"""Recordings of wheeled robots turned into NWM folders.

The rules are those of NWM's preprocessing, each of which can be switched off: pictures at 4 Hz,
each with the pose interpolated at its time; a centre crop to 4:3; a trajectory is cut, and the
frames between left out, where the robot stands or drives backward, and where time jumps. It is also
cut where the odometry has a hole.
"""

import argparse
from pathlib import Path

from egowm.commands.parser import Parser
from egowm.data.convert.drive import Rules


def configure(parser: Parser) -> None:
    """The options of `egowm data convert`."""
    parser.description = __doc__
    rules = Rules()
    parser.add_argument("path", type=Path, help="folder with robot_log.csv, a .bag, or a ROS 2 bag")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--force", action="store_true", help="replace one that is there")
    parser.add_argument(
        "--rate",
        type=float,
        default=rules.rate_hz,
        help="Hz (default %(default)g); 0: every picture",
    )
    parser.add_argument("--no_crop", action="store_true", help="keep the picture's shape")
    parser.add_argument("--keep_backward", action="store_true", help="cut at time gaps only")
    parser.add_argument(
        "--max_gap",
        type=float,
        default=rules.max_gap_s,
        help="seconds without a picture that cut a trajectory (default %(default)g)",
    )
    parser.add_argument(
        "--max_pose_gap",
        type=float,
        default=rules.max_pose_gap_s,
        help="seconds without odometry that cut a trajectory (default %(default)g)",
    )
    parser.add_argument(
        "--shortest",
        type=int,
        default=rules.shortest,
        help="frames of the shortest trajectory that is kept (default %(default)d)",
    )
    parser.add_argument(
        "--yaw_offset",
        type=float,
        default=0.0,
        help="degrees added to yaw: 90 where 0 is the robot's side, as in TartanDrive",
    )
    parser.add_argument("--images", help="ROS topic of (compressed) pictures")
    parser.add_argument("--odometry", help="ROS topic of nav_msgs/Odometry")


def run(args: argparse.Namespace) -> int:
    """Convert, and name each folder."""
    from egowm.data.convert.convert import convert

    lines = convert(
        args.path,
        args.output,
        Rules(
            args.rate,
            not args.no_crop,
            args.keep_backward,
            args.max_gap,
            args.shortest,
            args.max_pose_gap,
        ),
        yaw_offset=args.yaw_offset,
        images=args.images,
        odometry=args.odometry,
        force=args.force,
    )
    for line in lines:
        print(line)
    return 0
