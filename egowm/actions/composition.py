"""How actions follow each other: composed over skipped frames, integrated into later states."""

import numpy as np
import torch
from torch import Tensor

from egowm.actions.poses import planar_path, product, quaternion, rotated, rotation_vector
from egowm.actions.spec import POSE_WIDTHS, ActionSpec, Kind
from egowm.checks import check_shape, checked, counted


@checked
def follows(spec: ActionSpec, state_spec: ActionSpec) -> bool:
    """Whether later states follow from the actions: these are differences of the state.

    Args:
        spec: What the actions mean.
        state_spec: What the state means.

    >>> elbow = ActionSpec(("elbow",), ("rad",), "joint", "difference", 10.0)
    >>> int(follows(elbow, elbow))
    1
    """
    return spec.kind == "difference" and spec.names == state_spec.names


@checked
def integrate(
    state: Tensor, actions: Tensor, spec: ActionSpec, state_spec: ActionSpec, chunk: int
) -> Tensor:
    """The state at the start of every chunk, (N, chunks, S), from the first one.

    Where actions are differences of states, the later states follow from them; a rollout of one
    chunk needs no later state.

    Args:
        state: The first one, (1 or N, S) in physical units, tensor or array.
        actions: (N, T, A) in physical units, tensor or array.
        spec: What the actions mean.
        state_spec: What the state means.
        chunk: Actions of a chunk, at least 1.

    Raises:
        ValueError: States that do not follow from actions; the message says what to give.

    >>> elbow = ActionSpec(("elbow",), ("rad",), "joint", "difference", 10.0)
    >>> integrate(torch.tensor([[1.0]]), torch.full((1, 4, 1), 0.1), elbow, elbow, chunk=2)[0, :, 0]
    tensor([1.0000, 1.2000])
    """
    check_shape("actions", actions, "N T A", A=spec.width)
    check_shape("state", state, "N S", S=state_spec.width)
    if len(state) not in (1, len(actions)):
        raise ValueError(f"Expected 1 or {counted(len(actions), 'state')}, got {len(state)}.")
    if chunk < 1:
        raise ValueError(f"Expected a chunk of at least 1 action, got {chunk}.")
    if actions.shape[1] <= chunk:
        return state[:, None]
    if not follows(spec, state_spec):
        raise ValueError(
            f"Later states follow from the actions only where these are differences of the state "
            f"(kind difference, the same names); these are {spec.kind}. Give a state for the start "
            f"of every chunk of {chunk}: (N, chunks, {state_spec.width})."
        )
    starts = torch.cat([torch.zeros_like(actions[:, :1]), actions.cumsum(1)], 1)[:, :-1:chunk]
    return state[:, None] + starts


@checked
def compose(actions: np.ndarray, stride: int, kind: Kind) -> np.ndarray:
    """Actions over several native frames each, (N // stride, A) float32.

    Args:
        actions: (N, A) in physical units, one per native frame.
        stride: Native frames per composed action, at least 1.
        kind: "se2" and "se3" compose the poses exactly (the turn of a composed pose is the shortest
            one, at most pi), "difference" adds, "command" averages.

    >>> ahead_and_left, ahead = [1.0, 0.0, np.pi / 2], [1.0, 0.0, 0.0]
    >>> compose(np.array([ahead_and_left, ahead]), 2, "se2").round(2)
    array([[1.  , 1.  , 1.57]], dtype=float32)
    """
    width = POSE_WIDTHS.get(kind)
    if actions.ndim != 2 or width not in (None, actions.shape[1]):
        raise ValueError(f"Expected actions (N, {width or 'A'}), got {actions.shape}.")
    if stride < 1:
        raise ValueError(f"Expected a stride of at least 1, got {stride}.")
    groups = len(actions) // stride
    if not groups:
        return np.zeros((0, actions.shape[1]), np.float32)
    parts = np.asarray(actions[: groups * stride], np.float64)
    parts = parts.reshape(groups, stride, actions.shape[-1])
    if kind == "command":
        return parts.mean(1).astype(np.float32)
    if kind == "difference":
        return parts.sum(1).astype(np.float32)
    if kind == "se3":
        return _compose_se3(parts).astype(np.float32)
    x, y, yaw = planar_path(parts)[:, -1].T
    return np.stack([x, y, np.arctan2(np.sin(yaw), np.cos(yaw))], -1).astype(np.float32)


def _compose_se3(parts: np.ndarray) -> np.ndarray:
    """Poses (groups, stride, 6), each in the frame of the one before, to (groups, 6)."""
    where, turn = np.zeros((len(parts), 3)), quaternion(np.zeros((len(parts), 3)))
    for k in range(parts.shape[1]):
        where = where + rotated(turn, parts[:, k, :3])
        turn = product(turn, quaternion(parts[:, k, 3:]))
    return np.concatenate([where, rotation_vector(turn)], -1)
