"""The live robot and what collects with it: rewards by hand, the fence, the light, the verb."""

import math

import numpy as np
import pytest
import torch

from egowm.commands import main as cli
from egowm.evaluation.navigation import off
from egowm.policies import BehaviourCloning, Dreamer, LiveRobot, ReplayWriter
from egowm.policies.collector import Collector, NewestPolicy
from egowm.policies.replay_buffer import listed, read_episode
from tests.policies.conftest import SMALL

ROOM, GOAL = 7, (0.0, 0.0, 0.0)


def robot(**options) -> LiveRobot:
    return LiveRobot(**({"seed": ROOM, "size": (8, 8), "goal": GOAL} | options))


def test_the_reward_by_hand():
    live = robot()
    live.pose = (-2.0, 0.0, 0.0)
    assert live.move(np.array([0.3, 0.0, 0.0])) == (pytest.approx(-1.7 / 2), 1.0)
    turned = live.move(np.array([0.0, 0.0, 0.1]))  # 1.7 m away, 0.1 rad off
    assert turned.reward == pytest.approx(-(1.7 + 0.3 * 0.1 * math.exp(-1.7)) / 2)
    live.pose = (-0.7, 0.0, 0.0)
    there = live.move(np.array([0.25, 0.0, 0.0]))
    assert there == (pytest.approx(1.0 - 0.45 / 2), 0.0)
    beside = robot()
    beside.pose = (-0.2, 0.0, 0.5)  # near, and 29 degrees off
    assert beside.move(np.zeros(3)) == (
        pytest.approx(-(0.2 + 0.3 * 0.5 * math.exp(-0.2)) / 2),
        1.0,
    )


def test_to_arrive_soon_is_worth_most():
    """The returns of standing still, of going there slowly, and of going there fast."""
    found = []
    for metres in (0.0, 0.1, 0.25):
        live, returns, discount = robot(), 0.0, 1.0
        live.pose = (-1.5, 0.0, 0.0)
        for _ in range(60):
            told = live.move(np.array([metres, 0.0, 0.0]))
            returns, discount = returns + discount * told.reward, 0.95 * discount * told.goes_on
        found.append(returns)
    assert found[0] == pytest.approx(-0.75 * (1 - 0.95**60) / 0.05)
    assert found[0] < found[1] < found[2]


def test_the_fence_stops_what_leads_away():
    live = robot(fence=1.0)
    live.pose = (-0.9, 0.0, math.pi)
    live.move(np.array([0.3, 0.0, 0.1]))
    assert live.pose == pytest.approx((-0.9, 0.0, math.pi + 0.1))
    live.pose = (-1.5, 0.0, 0.0)  # outside, and coming back
    live.move(np.array([0.3, 0.0, 0.0]))
    assert live.pose[0] == pytest.approx(-1.2)


def test_the_light_is_a_factor():
    live = robot(size=(16, 16))
    plain = live.look().astype(float)
    live.gain = 0.5
    assert np.abs(live.look() - plain / 2).max() <= 1
    live.gain = 3.0
    assert live.look().max() == 255


def test_places_are_free_within_the_fence():
    live = robot(fence=2.0)
    places = [live.place(np.random.default_rng(k)) for k in range(20)]
    assert max(off(pose, GOAL)[0] for pose in places) <= 2.0
    assert len(set(places)) == 20
    with pytest.raises(ValueError, match=r"No free place within 0\.5 m"):
        robot(goal=(50.0, 50.0, 0.0), fence=0.5)


class Ahead:
    """A policy that drives straight on."""

    def begin(self, goals):
        return 0

    def act(self, memory, frames, generator=None):
        return memory + 1, torch.tensor([[0.2, 0.0, 0.0]])


@pytest.mark.parametrize(("start", "arrived"), [(-1.0, 3), (0.9, None)])
def test_it_drives_away_after_an_attempt_and_tells_where_it_arrived(start, arrived, tmp_path):
    """From 1 m in front the third step of 0.2 m arrives; from behind none does."""
    live = robot(fence=1.0)
    live.pose = (start, 0.0, 0.0)
    writer = ReplayWriter(tmp_path, (8, 8), live.spec)
    made = Collector(live, writer, Ahead, attempt=12, away=6).episode()
    (stored,) = listed(tmp_path)
    episode, tried = read_episode(stored, (8, 8), 3), arrived or 12
    assert (made.arrived, made.steps) == (arrived, tried + 6) == (arrived, stored.steps)
    assert episode.goes_on[:tried].tolist() == [1.0] * (tried - 1) + [float(not arrived)]
    assert episode.actions[:tried] == pytest.approx(np.tile([0.2, 0.0, 0.0], (tried, 1)))
    assert episode.actions[tried:, 0].max() > 0.0
    if arrived:
        assert made.rewards == pytest.approx(1.0 - (0.8 + 0.6 + 0.4) / 2)


def test_the_newest_policy_drives_and_a_damaged_one_does_not(tmp_path, caplog):
    live = robot()
    newest = NewestPolicy(tmp_path / "policy", live)
    assert newest() is None
    model = Dreamer(**SMALL, spec=live.spec)
    model.configure_model()
    model.save_pretrained(tmp_path / "policy")
    first = newest()
    assert isinstance(first, Dreamer)
    assert newest() is first
    (tmp_path / "policy/policy.json").write_text('{"format": 1, "policy": "Dream')
    assert newest() is first
    assert "the policy of before drives on" in caplog.text
    with torch.no_grad():  # all ahead, straight on
        model.actor.layers[-1].weight.zero_()
        model.actor.layers[-1].bias.copy_(torch.tensor([5.0, 0.0, 0.0, -9.0, -9.0, -9.0]))
    model.save_pretrained(tmp_path / "policy")
    second = newest()
    assert second is not first
    writer = ReplayWriter(tmp_path / "replay", (8, 8), live.spec)
    made = Collector(live, writer, newest, attempt=5, away=1).episode()
    assert (made.by, made.steps) == ("the policy", 6)
    actions = read_episode(listed(tmp_path / "replay")[0], (8, 8), 3).actions[:5]
    assert (actions[:, 0] > 0.29).all()


def test_the_verb_goes_on_with_its_buffer(tmp_path, capsys):
    words = ["collect", "--output", str(tmp_path / "replay"), "--rate", "0", "--size", "8"]
    words += ["--attempt", "10", "--away", "5", "--fence", "2"]
    assert cli.main([*words, "--steps", "30"]) == 0
    assert cli.main([*words, "--steps", "60"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "arrived in" in said[0]
    assert sum(one.steps for one in listed(tmp_path / "replay")) >= 60
    assert cli.main([*words, "--size", "16", "--steps", "90"]) == 2
    assert "this robot has 16x16" in capsys.readouterr().err
    assert cli.main([*words, "--room", "1", "--steps", "90"]) == 2
    assert "rewards of another task" in capsys.readouterr().err
    for wrong in (["--exposure", "nan"], ["--exposure_after", "-5"], ["--seed", "-1"]):
        new = ["collect", "--output", str(tmp_path / "new"), *wrong]
        assert cli.main(new) == 2
        assert "Expected an --exposure above 0" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_another_robots_policy_is_refused(tmp_path):
    live = robot()
    other = Dreamer(**SMALL, spec=robot(turn=60.0).spec)
    other.configure_model()
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="give the --turn that it was learned with"):
        NewestPolicy(tmp_path / "other", live)()
    clone = BehaviourCloning(depth=8, units=8, size=8, spec=live.spec)
    clone.configure_model()
    clone.save_pretrained(tmp_path / "clone")
    with pytest.raises(ValueError, match="expected the export of a Dreamer, got 'Beh"):
        NewestPolicy(tmp_path / "clone", live)()


@pytest.mark.parametrize(("where", "kept"), [("move", 7), ("look", 6)])
def test_an_interrupted_episode_is_kept(where, kept, tmp_path, monkeypatch):
    live = robot()
    writer = ReplayWriter(tmp_path, (8, 8), live.spec)
    collector, calls = Collector(live, writer, NewestPolicy(None, live)), []
    whole = getattr(LiveRobot, where)

    def cut(*given):
        if len(calls) == 7:
            raise KeyboardInterrupt
        calls.append(given)
        return whole(live, *given)

    monkeypatch.setattr(live, where, cut)
    with pytest.raises(KeyboardInterrupt):
        collector.episode()
    assert writer.steps == kept


def test_the_rate_is_kept(tmp_path, monkeypatch):
    """20 steps a second by a clock of our own."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    live = robot()
    writer = ReplayWriter(tmp_path, (8, 8), live.spec)
    Collector(live, writer, NewestPolicy(None, live), attempt=20, away=20, rate=20.0).episode()
    assert now[0] == pytest.approx(writer.steps / 20, abs=0.06)
