"""`egowm rollout`: actions from keys and files, any picture, and what the model makes of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from egowm.actions import ActionSpec
from egowm.actions.files import read_actions
from egowm.backbones import SVD
from egowm.backbones.texts import Texts
from egowm.commands import main as cli
from egowm.evaluation.run_writer import to_uint8
from egowm.sampling import Sampling
from egowm.video import count_frames, read_frames, read_image, write_frames
from egowm.world_model import WorldModel

CAR = ActionSpec(
    ("angle", "throttle"), ("", ""), "command", "command", 5.0, low=(-1, 0.2), high=(1, 0.6)
)
ARM = ActionSpec(("shoulder",), ("rad",), "joint", "difference", 10.0, low=(-1,), high=(1,))
ROWS = [[0.1, 0.0, 0.05], [0.2, 0.0, -0.05]]


def test_keys_are_shares_of_the_range(spec):
    """80% of the largest forward motion (0.3 m) and turn (0.1 rad); q and e are both at once."""
    found = read_actions("wsadqe.", spec)
    forward, turn = 0.24, 0.08
    expected = [
        [forward, 0, 0],
        [-forward, 0, 0],
        [0, 0, turn],
        [0, 0, -turn],
        [forward, 0, turn],
        [forward, 0, -turn],
        [0, 0, 0],
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_keys_drive_a_car():
    """Right is positive; a wait keeps half the throttle, back the least of it."""
    found = read_actions("w.sad", CAR)
    expected = [[0, 0.6], [0, 0.4], [0, 0.2], [-0.8, 0.4], [0.8, 0.4]]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.csv", "0.1,0,0.05\n0.2,0,-0.05\n"),
        ("header.csv", "dx, dy,dyaw\n0.1,0,0.05\n\n0.2,0,-0.05\n"),
        ("windows.csv", "\ufeffdx,dy,dyaw\r\n0.1,0,0.05\r\n0.2,0,-0.05\r\n"),
        ("rows.json", json.dumps(ROWS)),
    ],
)
def test_files(name, text, spec, tmp_path):
    path = tmp_path / name
    path.write_text(text, newline="")
    found = read_actions(str(path), spec)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(ROWS))


def test_numpy_files(spec, tmp_path):
    np.save(tmp_path / "a.npy", np.array(ROWS))
    torch.testing.assert_close(read_actions(str(tmp_path / "a.npy"), spec), torch.tensor(ROWS))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "0.1,0\n", r"rows of 3 numbers \(dx, dy, dyaw\), got an array of shape \(1, 2\)"),
        ("a.csv", "0.1,0,0\n0.1,0\n", "expected numbers, one row per step, columns dx, dy, dyaw"),
        ("a.csv", "dyaw,dx,dy\n0,0,0\n", "columns dx, dy, dyaw .*'dyaw'"),
        ("a.csv", "", r"got an array of shape \(0,\)"),
        ("a.json", "[[0.1, 0, 0]", "expected numbers, one row per step"),
        ("a.json", '{"actions": []}', "expected numbers, one row per step"),
        ("a.json", "[0.1, 0, 0]", r"got an array of shape \(3,\)"),
        ("a.npy", "no array", "expected numbers, one row per step"),
        ("a.npy", "", "expected numbers, one row per step"),
    ],
)
def test_files_that_do_not_fit(name, text, words, spec, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_actions(str(path), spec)
    assert cli.explain(caught.value).startswith(str(path))


def test_keys_that_do_not_fit(spec):
    with pytest.raises(ValueError, match=r"or keys \(w forward, .*got 'wxw!' with ! x"):
        read_actions("wxw!", spec)
    with pytest.raises(ValueError, match="got ''"):
        read_actions("", spec)
    with pytest.raises(ValueError, match="this model's are shoulder: give a file"):
        read_actions("ww", ARM)
    with pytest.raises(FileNotFoundError, match=r"No action file at walk\.csv"):
        read_actions("walk.csv", spec)


@pytest.fixture
def picture(tmp_path) -> Path:
    """Odd sides, neither square nor small; a ramp, so that resizing shows."""
    ramp = np.linspace(0, 255, 53).astype(np.uint8)
    write_frames(tmp_path / "in", np.broadcast_to(ramp[None, None, :, None], (1, 37, 53, 3)))
    return tmp_path / "in/00000.png"


@pytest.fixture
def command(obedient, picture, tmp_path):
    """The command on an export; the output folder comes first."""

    def make(actions: str = "wwwaad", **options) -> list[str]:
        obedient.save_pretrained(tmp_path / "model")
        words = ["rollout", str(options.get("picture", picture)), "--actions", actions]
        words += ["--output", str(tmp_path / "out"), "--model", str(tmp_path / "model")]
        return [*words, "--size", "16", "16", "--steps", "2"]

    return make


@pytest.mark.long
def test_a_picture_of_any_size(command, picture, tmp_path, capsys):
    """T+1 frames in all three outputs; frame 0 is the picture, resized. The film has a panel and a
    map, and rests for a second where it begins anew."""
    assert cli.main(command()) == 0
    out = tmp_path / "out"
    written = {"frames", "rollout.mp4", "rollout.webp"}
    assert {p.name for p in out.iterdir() if p.name[0] != "."} == written
    frames = read_frames(out / "frames")
    assert frames.shape == (7, 16, 16, 3)
    expected = np.linspace(0, 255, 53).reshape(1, 53).repeat(16, 0)
    centres = (np.arange(16) + 0.5) * 53 / 16 - 0.5
    ramp = np.interp(centres, np.arange(53), expected[0])
    assert np.abs(frames[0, :, :, 0] - ramp).max() < 2
    assert count_frames(out / "rollout.mp4") == 7
    assert read_frames(out / "rollout.mp4").shape == (7, 192 + 2 * 22, 2 * 192 + 4, 3)
    assert seconds_of(out / "rollout.webp") == 7 / 4 + 1
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [
        "A key lasts 0.25 s: w 0.24 m ahead; a 4.6° left; d 4.6° right.",
        "wwwaad: 0.7 m, turns 4.6° left, in 1.5 s.",
        f"7 frames in {out}: frames/, rollout.mp4, rollout.webp",
    ]
    assert read_image(picture).shape == (37, 53, 3)


def seconds_of(path: Path) -> float:
    from PIL import Image

    milliseconds = 0
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            milliseconds += image.info["duration"]
    return milliseconds / 1000


def test_several_sequences_side_by_side(command, tmp_path, capsys):
    """Each as it is alone, with the same noise; the shorter one holds its last frame."""
    words = command()
    place = words.index("wwwaad")
    assert cli.main([*words[:place], "ww", "wwaa", *words[place + 1 :]]) == 0
    out = tmp_path / "out"
    film = read_frames(out / "rollout.mp4")
    assert film.shape == (5, 192 + 2 * 22, 3 * 192 + 2 * 4, 3)
    shorter, longer = read_frames(out / "frames_1"), read_frames(out / "frames_2")
    assert (len(shorter), len(longer)) == (3, 5)
    assert "3 + 5 frames in" in capsys.readouterr().out
    assert cli.main([*command(actions="wwaa"), "--force"]) == 0
    assert np.array_equal(read_frames(out / "frames"), longer)
    assert not (out / "frames_1").exists()
    many = [*words[:place], *["w"] * 13, *words[place + 1 :], "--force"]
    assert cli.main(many) == 2
    assert "at most 12 sequences of actions, got 13" in capsys.readouterr().err


@pytest.mark.long
def test_actions_and_seed_decide(command, tmp_path):
    def made(*options: str, actions: str = "wwd") -> np.ndarray:
        assert cli.main([*command(actions=actions), "--force", *options]) == 0
        return read_frames(tmp_path / "out/frames").astype(int)

    first = made()
    assert np.array_equal(first, made())
    for other in (made("--seed", "1"), made("--guidance", "3"), made(actions="wwa")):
        assert np.array_equal(other[0], first[0])
        assert np.abs(other[1:] - first[1:]).max() > 2


@pytest.mark.parametrize("damage", ["text", "cut", "empty", "missing"])
def test_a_broken_picture_is_one_line(damage, command, picture, tmp_path, capsys):
    data = {"text": b"a painting", "cut": picture.read_bytes()[:60], "empty": b""}
    broken = tmp_path / "broken.png"
    if damage != "missing":
        broken.write_bytes(data[damage])
    assert cli.main(command(picture=broken)) == 2
    err = capsys.readouterr().err
    assert [line for line in err.splitlines() if line.startswith("egowm: ")] == [
        err.splitlines()[-1]
    ]
    assert str(broken) in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("actions", "options", "words"),
    [
        ("wwx", [], "Expected a file"),
        ("nan.csv", [], r"Action 1, dimension 2 (dyaw) is not a finite number"),
        ("ww", ["--size", "16", "20"], "multiples of 8, got 16x20"),
        ("ww", ["--size", "0", "16"], "height and width of at least 1"),
        ("ww", ["--steps", "0"], "Expected at least 1 sampling step, got 0"),
        ("ww", ["--model", "./none"], "Expected an export"),
        ("ww", ["--device", "meat"], "expected a device such as cpu or cuda, got 'meat'"),
    ],
)
def test_a_mistake_leaves_nothing(actions, options, words, command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("nan.csv").write_text("0,0,0\n0,0,nan\n")
    assert cli.main([*command(actions=actions), *options]) == 2
    [line] = [row for row in capsys.readouterr().err.splitlines() if row.startswith("egowm: ")]
    assert words in line
    assert not (tmp_path / "out").exists()


# Options that reach the rollout -------------------------------------------------------------------


LEGS = ActionSpec(
    ("hip", "knee"), ("rad",) * 2, "joint", "difference", 4.0, low=(-0.2, -0.2), high=(0.2, 0.2)
)
POSTURE = replace(LEGS, kind="command", low=(-1.0, -1.0), high=(1.0, 1.0))


class Told(SVD):
    """SVD that says it takes texts, and remembers the last one."""

    told: ClassVar[list[list[str]]] = []

    def load(self) -> None:
        super().load()
        texts = Texts(self.folder, lambda folder, new: pytest.fail("nothing to embed with"))
        self.codec.texts = texts
        texts.remember("", torch.zeros(1, 1), torch.ones(1))

    def condition(
        self,
        context,
        noise_strength,
        generator=None,
        known=None,
        text=("",),
        num_frames=0,
        codec=None,
    ):
        self.told.append(list(text))
        return super().condition(context, noise_strength, generator, known, text, num_frames, codec)


@pytest.fixture
def run(world_model, picture, tmp_path):
    """Exports a model of these options and runs the command on it; the exit code and the model."""

    def go(spec: ActionSpec, *words: str, actions: str = "steps.csv", specs=None, **options):
        model = WorldModel(world_model.backbone, steps=2, chunk=4, spec=spec, **options)
        model.configure_model()
        for name, parameter in model.named_parameters():
            if "linear_2.weight" in name or name == "null_embedding":
                torch.nn.init.normal_(parameter, std=0.3, generator=seeded(1))
        model.specs = specs or {}
        model.eval().save_pretrained(tmp_path / "model")
        rows = np.linspace(-0.1, 0.1, 6 * spec.width).reshape(6, spec.width)
        np.savetxt(tmp_path / "steps.csv", rows, delimiter=",")
        given = str(tmp_path / actions) if actions.endswith(".csv") else actions
        command = ["rollout", str(picture), "--actions", given, "--size", "16", "16"]
        command += ["--output", str(tmp_path / "out"), "--model", str(tmp_path / "model")]
        return cli.main([*command, *words]), model, torch.tensor(rows, dtype=torch.float32)

    return go


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_written(model: WorldModel, actions: torch.Tensor, folder: Path, **options) -> None:
    """The frames in `folder` are those of a rollout with these options, and of none without."""
    frames = read_frames(folder / "frames").astype(int)
    context = torch.from_numpy(frames[:1]).permute(0, 3, 1, 2)[None].to(torch.uint8)
    made = model.rollout(context, actions[None], generator=seeded(), **options).frames[0]
    expected = to_uint8(made).astype(int)
    assert frames.shape == (7, 16, 16, 3)
    assert np.abs(frames[1:] - expected).max() <= 1


@pytest.mark.long
def test_a_state_from_the_command_line(run, tmp_path):
    """Two chunks; negative numbers are no options."""
    code, model, actions = run(LEGS, "--state", "0.5", "-0.25", state_spec=POSTURE)
    assert code == 0
    assert_written(model, actions, tmp_path / "out", state=torch.tensor([[0.5, -0.25]]))
    with pytest.raises(AssertionError):
        assert_written(model, actions, tmp_path / "out", state=torch.tensor([[-0.5, 0.9]]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "This model embeds the body's state: give state"),
        (("--state", "0.5"), "Expected a state"),
        (("--state", "nan", "0"), "dimension 0 (hip) is not a finite number"),
    ],
)
def test_a_state_that_does_not_fit(run, words, message, tmp_path, capsys):
    assert run(LEGS, *words, state_spec=POSTURE)[0] == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_source_s_ranges(run, spec, tmp_path, capsys):
    """The same physical actions mean less to a robot that moves three times as far."""
    wide = replace(spec, low=tuple(3 * x for x in spec.low), high=tuple(3 * x for x in spec.high))
    sources = {"near": spec, "far": wide}
    code, model, actions = run(spec, "--source", "far", specs=sources)
    assert code == 0
    assert_written(model, actions, tmp_path / "out", source="far")
    with pytest.raises(AssertionError):
        assert_written(model, actions, tmp_path / "out", source="near")
    assert run(spec, "--source", "moon", "--force", specs=sources)[0] == 2
    words = "Unknown source 'moon'; this model was fitted on near, far"
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.long
@pytest.mark.parametrize("guides", [("action",), ("image", "action")])
def test_what_guidance_is_on(run, spec, guides, tmp_path):
    words = ("--guidance", "2.5", "--guide_on", *guides)
    code, model, actions = run(spec, *words, drop_action=0.1)
    assert code == 0
    assert_written(model, actions, tmp_path / "out", how=Sampling(guidance=2.5, guide_on=guides))
    with pytest.raises(AssertionError):
        assert_written(model, actions, tmp_path / "out", how=Sampling(guidance=2.5))


@pytest.mark.long
def test_guides_that_do_not_fit(run, spec, capsys):
    words = ("--guidance", "2.5", "--guide_on")
    assert run(spec, *words, "action")[0] == 2
    assert "no null embedding" in capsys.readouterr().err.splitlines()[-1]
    assert run(spec, *words, "text")[0] == 2
    assert "SVD can be guided on image, action" in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(SystemExit):
        run(spec, *words, "depth")
    assert "invalid choice: 'depth'" in capsys.readouterr().err


def test_a_text_from_the_command_line(run, spec, world_model, capsys):
    assert run(spec, "--text", "turn left", actions="wwd")[0] == 2
    assert "SVD takes no text: leave text out" in capsys.readouterr().err.splitlines()[-1]
    world_model.backbone.__class__ = Told
    code = run(spec, "--text", "turn left", actions="wwwwd")[0]
    assert code == 0
    assert Told.told[:2] == [["turn left"]] * 2  # of both chunks
