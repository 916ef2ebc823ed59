"""The 25 states of 1X's humanoid: of its recordings, and of the embedded one."""

_ARM = (
    "shoulder_pitch",
    "shoulder_roll",
    "shoulder_yaw",
    "elbow_pitch",
    "elbow_yaw",
    "wrist_pitch",
    "wrist_roll",
)
NAMES = (  # 15 to 19 by symmetry, 20 to 24 from the published ranges
    *("hip_yaw", "hip_roll", "hip_pitch", "knee_pitch", "ankle_roll", "ankle_pitch"),
    *(f"left_{joint}" for joint in _ARM),
    *(f"right_{joint}" for joint in _ARM),
    *("neck_pitch", "left_hand_closure", "right_hand_closure"),
    *("linear_velocity", "angular_velocity"),
)
UNITS = (*("rad",) * 21, "closed share", "closed share", "m/s", "rad/s")  # 0 open, 1 closed
