"""The replay buffer: what is written is read, whole or not at all, while it grows."""

import subprocess
import sys

import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.policies import Replay, ReplayEpisode, ReplayWriter
from egowm.policies.episode_cache import EpisodeCache
from egowm.policies.replay_buffer import HEADER, listed, read_episode

SPEC = ActionSpec(("turn",), ("rad",), "body", "difference", 4.0, (-1.0,), (1.0,))


def counted_episode(first: int, steps: int) -> ReplayEpisode:
    """Pixels, actions and rewards count on from episode to episode."""
    numbers = np.arange(first, first + steps + 1)
    frames = np.broadcast_to(numbers[:, None, None, None], (steps + 1, 8, 8, 3)).astype(np.uint8)
    told = numbers[:-1].astype(np.float32)
    return ReplayEpisode(frames, told[:, None] / 100, told, (told % 2).astype(np.float32))


def test_an_action_leads_to_the_frame_after_it(tmp_path):
    writer = ReplayWriter(tmp_path, (8, 8), SPEC)
    for first in (0, 50):
        writer.add(counted_episode(first, 20))
    data = Replay(str(tmp_path), horizon=5, batch_size=64, min_steps=40)
    data.setup("fit")
    clip, signals = next(iter(data))
    clip.check()
    assert clip.frames.shape == (64, 6, 3, 8, 8)
    first = clip.frames[:, :-1, 0, 0, 0].float()
    np.testing.assert_allclose(clip.actions[..., 0], first / 100, rtol=1e-6)
    np.testing.assert_array_equal(signals.reward, first)
    np.testing.assert_array_equal(signals.goes_on, first % 2)
    assert {name.rsplit("_", 2)[0] for name in clip.name} == {
        "episode_00000000",
        "episode_00000001",
    }
    assert (data.spec, data.window.span) == (SPEC, 6)


def test_every_sequence_is_drawn_equally_often(tmp_path):
    """Of episodes of 4, 3 and 12 actions, sequences of 4: 1, 0 and 9."""
    writer = ReplayWriter(tmp_path, (8, 8), SPEC)
    for first, steps in ((0, 4), (20, 3), (40, 12)):
        writer.add(counted_episode(first, steps))
    data = Replay(str(tmp_path), horizon=4, batch_size=2000, min_steps=19)
    firsts = data.batch(0).clip.frames[:, 0, 0, 0, 0].numpy()
    values, counts = np.unique(firsts, return_counts=True)
    assert values.tolist() == [0, *range(40, 49)]
    assert np.abs(counts - 200).max() < 50  # 3.7 deviations


def test_new_episodes_are_found_and_old_ones_left_out(tmp_path):
    writer = ReplayWriter(tmp_path, (8, 8), SPEC)
    writer.add(counted_episode(0, 10))
    data = Replay(str(tmp_path), horizon=2, batch_size=50, capacity=20, min_steps=10)
    before = data.batch(3)
    for first in (100, 150):
        writer.add(counted_episode(first, 10))
    same = data.batch(3)
    np.testing.assert_array_equal(before.clip.frames, same.clip.frames)
    later = next(iter(data)).clip.frames[:, 0, 0, 0, 0]
    assert later.min() >= 100  # the newest 20 steps
    assert later.max() >= 150


def test_batches_follow_from_seed_and_position(tmp_path):
    ReplayWriter(tmp_path, (8, 8), SPEC).add(counted_episode(0, 40))
    first, again = (Replay(str(tmp_path), 4, 6, min_steps=4, seed=7) for _ in range(2))
    drawn = [batch.clip.name for batch, _ in zip(first, range(3), strict=False)]
    again.load_state_dict({"position": 2})
    assert next(iter(again)).clip.name == drawn[2]
    assert drawn[0] != drawn[1]


def test_damaged_files_are_left_out_with_a_warning(tmp_path, caplog):
    writer = ReplayWriter(tmp_path, (8, 8), SPEC)
    paths = [writer.add(counted_episode(first, 10)) for first in (0, 50, 100)]
    torn, flipped = paths[:2]
    torn.write_bytes(torn.read_bytes()[:-200])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    (tmp_path / "episode_x.npz").write_text("another's")
    replay = Replay(str(tmp_path), horizon=2, batch_size=60, min_steps=10)
    assert replay.batch(0).clip.frames[:, 0, 0, 0, 0].min() >= 100
    assert len(caplog.records) == 2
    assert {path.name for path in (torn, flipped) if path.name in caplog.text} == {
        torn.name,
        flipped.name,
    }
    with pytest.raises(ValueError, match="no episode of 11 actions is readable"):
        Replay(str(tmp_path), horizon=11, min_steps=11).batch(0)


def test_a_name_that_lies_is_damage(tmp_path):
    path = ReplayWriter(tmp_path, (8, 8), SPEC).add(counted_episode(0, 10))
    path.rename(tmp_path / "episode_00000000_12.npz")
    (stored,) = listed(tmp_path)
    with pytest.raises(ValueError, match="its name says 12 actions, it holds 10"):
        read_episode(stored, (8, 8), 1)


def test_a_buffer_is_continued_by_the_same_robot_alone(tmp_path):
    ReplayWriter(tmp_path, (8, 8), SPEC).add(counted_episode(0, 10))
    assert (
        ReplayWriter(tmp_path, (8, 8), SPEC)
        .add(counted_episode(9, 3))
        .name.startswith("episode_00000001")
    )
    with pytest.raises(ValueError, match=r"holds frames of 8x8.* this robot has 16x16"):
        ReplayWriter(tmp_path, (16, 16), SPEC)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.txt").write_text("kept")
    with pytest.raises(FileExistsError, match="did not write"):
        ReplayWriter(tmp_path / "other", (8, 8), SPEC)
    (tmp_path / HEADER).write_text('{"format": 1, "size": [8]}')
    with pytest.raises(ValueError, match="spec: missing"):
        ReplayWriter(tmp_path, (8, 8), SPEC)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": np.zeros((4, 8, 8, 3), np.uint8)}, r"frames \(11, 8, 8, 3\), got \(4"),
        ({"frames": np.zeros((11, 8, 8, 3))}, "frames of uint8, got float64"),
        ({"actions": np.zeros((10, 2))}, r"actions \(N, 1\), got \(10, 2\)"),
        ({"rewards": np.full(10, np.nan)}, "finite numbers"),
        ({"goes_on": np.full(10, 2.0)}, "goes_on from 0 to 1, got 2"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, said, tmp_path):
    writer = ReplayWriter(tmp_path, (8, 8), SPEC)
    with pytest.raises(ValueError, match=said):
        writer.add(counted_episode(0, 10)._replace(**change))
    assert writer.steps == 0


def test_wrong_settings_and_missing_buffers_are_told():
    with pytest.raises(ValueError, match="min_steps from 16 to"):
        Replay("nowhere", horizon=16, min_steps=8)
    with pytest.raises(FileNotFoundError, match="begin one with `egowm collect --output nowhere`"):
        _ = Replay("nowhere").spec


def test_memory_for_episodes_is_bounded_by_bytes(tmp_path):
    """Of 11 frames of 8x8 each: two fit, and the one that was asked for last is kept."""
    writer = ReplayWriter(tmp_path, (8, 8), SPEC)
    for first in (0, 50, 100):
        writer.add(counted_episode(first, 10))
    one, two, three = listed(tmp_path)
    size = 11 * 8 * 8 * 3 + 3 * 4 * 10
    read = EpisodeCache((8, 8), 1, most_bytes=2 * size)
    kept = read(one)
    assert (read.bytes, read(two).steps) == (size, 10)
    assert read(one) is kept
    read(three)
    assert (list(read.held), read.bytes) == ([one, three], 2 * size)
    small = EpisodeCache((8, 8), 1, most_bytes=size - 1)
    assert small(one).steps == 10
    assert (len(small.held), small.bytes) == (0, 0)


BOTH = """  # two processes begin at once
import os, sys
import numpy as np
from egowm.actions import ActionSpec
from egowm.policies.replay_buffer import ReplayEpisode, ReplayWriter

spec = ActionSpec(("turn",), ("rad",), "body", "difference", 4.0, (-1.0,), (1.0,))
writer = ReplayWriter(sys.argv[1], (8, 8), spec)
child = os.fork()
for steps in range(1, 13):
    writer.add(
        ReplayEpisode(
            np.zeros((steps + 1, 8, 8, 3), np.uint8),
            np.zeros((steps, 1)),
            np.full(steps, float(child > 0)),
            np.ones(steps),
        )
    )
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_two_robots_take_different_numbers(tmp_path):
    root = tmp_path / "replay"
    subprocess.run([sys.executable, "-c", BOTH, root], check=True)
    stored = listed(root)
    assert [one.number for one in stored] == list(range(24))
    rewards = [read_episode(one, (8, 8), 1).rewards[0] for one in stored]
    assert sum(rewards) == 12


WRITE = """  # one process imports, copies of it write and are killed
import os, signal, sys, time
import numpy as np
from egowm.actions import ActionSpec
from egowm.policies.replay_buffer import ReplayEpisode, ReplayWriter

def write_on():
    spec = ActionSpec(("turn",), ("rad",), "body", "difference", 4.0, (-1.0,), (1.0,))
    writer, frames, ones = ReplayWriter(sys.argv[1], (8, 8), spec), np.zeros((11, 8, 8, 3)), np.ones
    while True:
        first = writer.steps % 100
        rewards = np.arange(first, first + 10)
        writer.add(ReplayEpisode(frames.astype(np.uint8), ones((10, 1)), rewards, ones(10)))

for pause in (0.3, 0.41, 0.52):
    child = os.fork()
    if not child:
        write_on()
    time.sleep(pause)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


@pytest.mark.long
def test_a_writer_that_is_killed_leaves_whole_episodes(tmp_path):
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path)], check=True)
    found = listed(tmp_path)
    assert [one.number for one in found] == list(range(len(found)))
    assert len(found) > 3
    for stored in found:
        first = 10 * stored.number % 100
        rewards = read_episode(stored, (8, 8), 1).rewards
        np.testing.assert_array_equal(rewards, np.arange(first, first + 10))
