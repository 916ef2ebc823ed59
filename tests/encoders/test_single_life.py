"""SingleLife: pairs, masks, the loss by hand, attention maps, alignment, runs and exports."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, IJepaModel

from egowm import Encoder
from egowm.commands import main as cli
from egowm.data import Rooms
from egowm.data.module import Window
from egowm.encoder import standardised
from egowm.encoders import SingleLife, alignment, jaccard, same_place, structure_agreement
from egowm.encoders.pairs import draw, kinds_of
from egowm.training.checkpoints import read_checkpoint
from egowm.worlds.geometry import Geometry, look

SIZE = 24
SMALL = {"size": SIZE, "patch": 4, "width": 16, "layers": 2, "heads": 2}
SMALL |= {"decoder_width": 8, "decoder_layers": 2}


def single_life(seed: int = 0, **options) -> SingleLife:
    torch.manual_seed(seed)
    model = SingleLife(**(SMALL | options))
    model.configure_model()
    return model


def loud(model: SingleLife, std: float = 0.5) -> SingleLife:
    """Random weights of some size everywhere, so that what a part does shows."""
    for name, weight in model.named_parameters():
        if "position" not in name:
            torch.nn.init.normal_(weight, std=std)
    model.teach(0.0)
    return model.eval()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Pairs --------------------------------------------------------------------------------------------


def test_gaps_of_pairs():
    rows = draw(("temporal",), 40, 16, 3, (0, 1), generator=seeded())
    assert rows.shape == (40 * 8, 3)
    assert rows[:, 0].tolist() == [clip for clip in range(40) for _ in range(8)]
    gaps = (rows[:, 1] - rows[:, 2]).abs()
    assert gaps.unique().tolist() == [1, 2, 3]
    assert rows[:, 1:].min() == 0
    assert rows[:, 1:].max() == 15
    far = draw(("random",), 40, 16, 3, (0, 1), generator=seeded())
    gaps = (far[:, 1] - far[:, 2]).abs()
    assert (gaps.min(), gaps.max()) == (1, 15)
    same = draw(("augmented",), 5, 4, 3, (0, 1), generator=seeded())
    assert torch.equal(same[:, 1], same[:, 2])
    mixed = draw(("temporal", "augmented"), 200, 2, 1, (0, 1), generator=seeded())
    share = (mixed[:, 1] == mixed[:, 2]).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.12)
    assert torch.equal(draw(("temporal",), 40, 16, 3, (0, 1), generator=seeded()), rows)


def wall(shifts: list[float]) -> Geometry:
    """Cameras with 4 x 4 pixels, 2 m before a wall, each so many metres further to the right; a
    frame is 2 m wide."""
    pose = np.stack([np.eye(4)] * len(shifts))
    pose[:, 0, 3] = shifts
    camera = np.array([[4.0, 0.0, 1.5], [0.0, 4.0, 1.5], [0.0, 0.0, 1.0]])
    return Geometry(np.full((len(shifts), 4, 4), 2.0, np.float32), pose, camera)


@pytest.mark.parametrize(
    ("shift", "share"), [(0.0, 1.0), (0.5, 3 / 4), (1.0, 1 / 2), (1.5, 1 / 4), (2.0, 0.0)]
)
def test_the_overlap_of_frames_of_a_wall(shift, share):
    """Of n points a frame, s n are seen in both: s / (2 - s)."""
    seen = wall([0.0, shift])
    found = jaccard(*(x[k] for k in (0, 1) for x in seen[:2]), seen.intrinsics)
    assert found == pytest.approx(share / (2 - share))
    back = jaccard(*(x[k] for k in (1, 0) for x in seen[:2]), seen.intrinsics)
    assert back == pytest.approx(found)


def test_what_is_hidden_or_behind_does_not_overlap():
    depth, pose, camera = wall([0.0, 0.0])
    behind = pose[0] @ np.diag([-1.0, 1.0, -1.0, 1.0])  # turned by half a turn
    assert jaccard(depth[0], pose[0], depth[0], behind, camera) == 0
    near = np.full((4, 4), 0.5, np.float32)  # something stands before the wall
    assert jaccard(depth[0], pose[0], near, pose[0], camera) == 0
    half = depth[0].copy()
    half[:, :2] = 0  # unknown there: 8 of its own 8 points are seen, and 8 of 16
    for tolerance in (0.1, 1.0):  # what is not known is seen by nobody
        found = jaccard(depth[0], pose[0], half, pose[0], camera, tolerance)
        assert found == pytest.approx(8 / 16)
    with pytest.raises(ValueError, match=r"Expected pose_a \(4, 4\), got \(3, 3\)"):
        jaccard(depth[0], np.eye(3), depth[0], pose[0], camera)


def test_spatial_pairs_share_as_many_points_as_is_wanted():
    seen = wall([0.0, 0.5, 1.5, 3.0])  # 0 with the others: 3/5, 1/7, 0
    rows = draw(("spatial",), 50, 4, 1, (0.5, 0.9), lambda number: seen, seeded())
    of_first = rows[rows[:, 1] == 0]
    assert of_first[:, 2].unique().tolist() == [1]
    of_last = rows[rows[:, 1] == 3]  # with none in the range: 2, which shares a quarter, is nearest
    assert of_last[:, 2].unique().tolist() == [2]


def test_rooms_know_the_geometry_of_a_clip(tmp_path):
    """Points of one frame, moved by the poses, are what another frame of the room shows."""
    data = Rooms(
        str(tmp_path), Window(1, 3, 2, 24, 24), episodes_train=1, episodes_val=1, episodes_test=1,
        num_frames=12,
    )  # fmt: skip
    name = "room_20000000_00002"
    data.split("test")
    seen = data.geometry(name)
    assert seen.depth.shape == (4, 32, 32)
    whole = look(20_000_000, read_cameras(data))
    np.testing.assert_array_equal(seen.depth, whole.depth[2:9:2])
    np.testing.assert_array_equal(seen.pose, whole.pose[2:9:2])
    found = [
        jaccard(seen.depth[0], seen.pose[0], seen.depth[k], seen.pose[k], seen.intrinsics)
        for k in range(4)
    ]
    assert found[0] == 1
    assert min(found) > 0.2  # at most a metre and some degrees
    assert found[1] > found[3]
    mirrored = seen.pose[3] @ np.diag([-1.0, 1.0, 1.0, 1.0])  # wrong poses overlap less
    wrong = jaccard(seen.depth[0], seen.pose[0], seen.depth[3], mirrored, seen.intrinsics)
    assert wrong < found[3]
    with pytest.raises(ValueError, match="expected world robot"):
        Rooms(str(tmp_path), world="passive").geometry(name)


def read_cameras(data: Rooms) -> np.ndarray:
    from egowm.worlds.store import read_labels

    return read_labels(data.folder / "room_20000000")["cameras"]


def test_lives_are_disjoint_rooms():
    one, other = Rooms(episodes_train=128), Rooms(episodes_train=128, first_train=1000)
    assert not set(one.seeds("train")) & set(other.seeds("train"))
    assert other.seeds("train")[0] == 1000
    assert one.seeds("test") == other.seeds("test")
    assert one.folder == other.folder
    with pytest.raises(
        ValueError, match="Expected first_train from 0 to 7,999,872 in passive rooms"
    ):
        Rooms(world="passive", episodes_train=128, first_train=8_000_000).seeds("train")


# Model and loss -----------------------------------------------------------------------------------


def test_masks_hide_their_share():
    model = single_life()
    seen, hidden = model.masks(5, seeded())
    assert (seen.shape, hidden.shape) == ((5, 4), (5, 32))  # 0.9 of 36 patches
    together = torch.cat([seen, hidden], 1).sort(1).values
    assert torch.equal(together, torch.arange(36).expand(5, -1))
    assert not torch.equal(seen[0].sort().values, seen[1].sort().values)
    assert torch.equal(model.masks(5, seeded())[0], seen)


def test_the_loss_by_hand(frames):
    """Pair by pair, head by head."""
    model = loud(single_life())
    loss, _ = model.losses(frames, seeded(3))
    seen, hidden = model.masks(3, seeded(3))
    errors = []
    for k in range(3):
        source, target = (standardised(frames[[j]]) for j in (k, 3 + k))
        known = model.student(source).last_hidden_state
        part = model.student.embeddings(target)[:, seen[k]]
        for layer in model.student.layers:
            part = layer(part)
        part = model.decoder.enter(model.student.layernorm(part))
        queries = model.decoder.token.repeat(1, 36, 1)
        queries[0, seen[k]] = part[0]
        queries = queries + model.decoder.places
        known = model.decoder.known(model.decoder.enter(known) + model.decoder.places)
        for block in model.decoder.blocks:
            normed = block.norms[0](queries)
            queries = queries + attended(block.own, normed, normed)[0]
            queries = queries + attended(block.across, block.norms[1](queries), known)[0]
            queries = queries + block.think(block.norms[2](queries))
        made = model.decoder.leave(model.decoder.norm(queries))[0, hidden[k]]
        cells = target[0].unfold(1, 4, 4).unfold(2, 4, 4)  # (3, 6, 6, 4, 4)
        wanted = cells.permute(1, 2, 0, 3, 4).reshape(36, 48)[hidden[k]]
        mean, variance = wanted.mean(1, keepdim=True), wanted.var(1, correction=0, keepdim=True)
        errors.append(((made - (wanted - mean) / (variance + 1e-6).sqrt()) ** 2).mean())
    torch.testing.assert_close(loss, torch.stack(errors).mean(), atol=1e-5, rtol=1e-4)


def attended(attention, queries, known) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of 2 heads of 4 channels, and its map averaged over heads."""
    q, k, v = (
        F.linear(x, w, b).unflatten(-1, (2, 4)).transpose(1, 2)
        for x, w, b in zip(
            (queries, known, known),
            attention.in_proj_weight.chunk(3),
            attention.in_proj_bias.chunk(3),
            strict=True,
        )
    )
    weights = (q @ k.mT / 2).softmax(-1)
    return attention.out_proj((weights @ v).transpose(1, 2).flatten(2)), weights.mean(1)


def test_the_map_is_the_attention_of_all_layers_and_heads(frames):
    model = loud(single_life())
    maps = model.attention(frames[:3], frames[3:])
    assert maps.shape == (3, 36, 36)
    torch.testing.assert_close(maps.sum(2), torch.ones(3, 36))
    found = []
    for block in model.decoder.blocks:
        block.across.register_forward_hook(
            lambda module, given, made: found.append(attended(module, *given[:2])[1])
        )
    model.attention(frames[:3], frames[3:])
    torch.testing.assert_close(maps, torch.stack(found).mean(0), atol=1e-6, rtol=1e-5)
    assert maps.std() > 1e-4


def test_hidden_pixels_do_not_reach_the_completion_and_the_source_does(frames):
    model = loud(single_life())
    seen, _ = model.masks(3, seeded(3))
    mask = torch.zeros(3, 36).scatter(1, seen, 1.0).view(3, 1, 6, 6)
    sources, targets = frames[:3], frames[3:]

    def completed(sources, targets):
        return model.decoder(model.features(sources), model.features(targets, seen), seen)

    made = completed(sources, targets)
    kept = targets * F.interpolate(mask, scale_factor=4)
    torch.testing.assert_close(completed(sources, kept), made)
    assert (completed(sources.flip(0), targets) - made).abs().max() > 1e-3
    assert (completed(sources, targets.flip(0)) - made).abs().max() > 1e-3
    model.train().losses(frames, seeded())[0].backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and not p.grad.any()]
    assert [n for n in lacking if "k_proj.bias" not in n] == []


def test_what_does_not_fit_is_refused(clip):
    assert kinds_of("temporal+spatial") == ("temporal", "spatial")
    with pytest.raises(ValueError, match="Expected each kind of pairs once"):
        kinds_of("random+random")
    for options, words in (
        ({"pairs": "temporal+near"}, "joined by \\+, got 'near'"),
        ({"gap": 0}, "Expected gap from 1"),
        ({"masked": 1.0}, "hides some of 36 patches"),
        ({"overlap": (0.9, 0.1)}, "two numbers that rise"),
        ({"pairs": "augmented", "crop": 1.0}, "crop below 1"),
        ({"decoder_width": 6}, "decoder_width that is one of 4 and of the heads"),
    ):
        with pytest.raises(ValueError, match=words):
            SingleLife(**(SMALL | options))
    with pytest.raises(ValueError, match=r"Spatial pairs need depth and pose.*got object"):
        SingleLife(**SMALL, pairs="spatial").check_data(object())
    model = single_life(pairs="augmented")
    sources, targets = model.paired(clip, None, seeded())
    assert sources.shape == targets.shape == (3, 3, SIZE, SIZE)
    assert (sources - targets).abs().max() > 0.1  # two crops
    assert torch.isfinite(model.losses_of(clip, seeded())[0])


# Alignment ----------------------------------------------------------------------------------------


def test_random_maps_agree_by_chance():
    """Two sets of k of N: k/N on average, raw and centred; a map agrees with itself."""
    a, b = torch.rand(2, 40, 36, 36, generator=seeded()).unbind(0)
    for k in (1, 5, 18):
        found = alignment(a, b, k)
        assert found.raw.mean().item() == pytest.approx(k / 36, abs=0.01)
        assert found.centred.mean().item() == pytest.approx(k / 36, abs=0.01)
        assert found.by_target.mean().item() == pytest.approx(k / 36, abs=0.01)
        assert alignment(a, a, k).raw.tolist() == [1.0] * 40
        assert torch.equal(alignment(b, a, k).raw, found.raw)
        assert torch.equal(alignment(b, a, k).centred, found.centred)
    assert alignment(a, b, 36).raw.tolist() == [1.0] * 40


def test_centring_takes_away_what_is_looked_at_in_every_pair():
    """A place that both look at, whatever the pair shows, and content that they share or do not."""
    place = same_place(6) * 0.1
    shared, own, other = torch.rand(3, 40, 36, 36, generator=seeded()).unbind(0)
    apart = alignment(place + 0.01 * own, place + 0.01 * other)
    assert apart.raw.mean() > 0.6
    assert apart.centred.mean().item() == pytest.approx(5 / 36, abs=0.01)
    alike = alignment(place + 0.01 * shared, 2 * place + 0.01 * shared)
    assert alike.centred.tolist() == pytest.approx([1.0] * 40, abs=0.01)


def test_what_all_targets_look_at_is_no_correspondence():
    """Two models that follow the same bright place of each frame, and look apart in all else."""
    bright = 10 * torch.rand(40, 1, 36, generator=seeded())
    own, other = torch.rand(2, 40, 36, 36, generator=seeded(1)).unbind(0)
    found = alignment(bright + own, bright + other)
    assert found.centred.mean() > 0.6
    assert found.by_target.mean().item() == pytest.approx(5 / 36, abs=0.01)
    alike = alignment(bright + own, own)
    assert alike.by_target.tolist() == pytest.approx([1.0] * 40, abs=0.01)


def test_structure_by_hand():
    """Three frames of 4 patches; each looks one patch further than in the frame before."""
    true = torch.stack([torch.eye(4).roll(step, 1) for step in range(3)]) + 5 * same_place(2)
    assert structure_agreement(true, true, k=1).centred.tolist() == [1, 1, 1]
    frozen = structure_agreement(true[[0, 0, 0]], true, k=1)
    assert frozen.centred.tolist() == [1, 0, 0]
    assert frozen.raw.tolist() == [1, 1, 1]  # the own place hides everything
    late = structure_agreement(true[[0, 0, 1]], true, k=1)  # half as fast
    assert late.centred.tolist() == [1, 0, 0]


def test_structure_of_what_has_nothing_to_do_with_the_truth_is_chance():
    """And an error that all imagined frames share is not centred away, as `alignment` would."""
    true, other = torch.rand(2, 60, 36, 36, generator=seeded()).unbind(0)
    found = structure_agreement(other, true)
    assert found.centred.mean().item() == pytest.approx(5 / 36, abs=0.01)
    always = 5 * torch.eye(36).roll(7, 1)
    assert structure_agreement(true + always, true).centred.mean() < 0.9
    assert alignment(true + always, true).centred.tolist() == pytest.approx([1.0] * 60, abs=0.01)
    alone = structure_agreement(other[:1], true[:1])
    assert torch.isnan(alone.centred).all()
    assert 0 <= alone.raw.item() <= 1
    with pytest.raises(ValueError, match="Expected k from 1 to 36, got 37"):
        structure_agreement(true, true, k=37)
    with pytest.raises(ValueError, match=r"got NaN or infinity in imagined"):
        structure_agreement(true * torch.nan, true)


def test_one_source_serves_all_targets(frames):
    model = loud(single_life())
    targets = frames[3:]
    maps = model.looks(model.features(frames[:1]), model.features(targets))
    expected = model.attention(frames[:1].expand_as(targets), targets)
    torch.testing.assert_close(maps, expected)
    assert (maps[0] - maps[1]).abs().max() > 1e-4


def test_nothing_is_centred_of_one_pair():
    found = alignment(*torch.rand(2, 1, 9, 9, generator=seeded()), k=2)
    assert found.raw.isfinite().all()
    assert found.centred.isnan().all()
    assert found.by_target.isnan().all()


def test_four_patches_can_be_loaded(tmp_path):
    single_life(size=8, patch=4, masked=0.5).save_pretrained(tmp_path / "a")
    assert SingleLife.from_pretrained(tmp_path / "a").count == 4


def test_bad_pictures_and_folders_are_told(tmp_path):
    with pytest.raises(ValueError, match="masked from 0 to 1, got inf"):
        single_life(masked=float("inf"))
    model = single_life()
    with pytest.raises(ValueError, match="Expected targets"):
        model.attention(torch.zeros(1, 3, SIZE, SIZE), torch.zeros(2, 3, SIZE, SIZE))
    model.encoder().save_pretrained(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match=r"decoder.json, found none: give the export of a"):
        SingleLife.from_pretrained(tmp_path / "a")


def test_alignment_by_hand():
    a = torch.tensor([[[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.4, 0.3, 0.3]]])
    b = torch.tensor([[[0.6, 0.1, 0.3], [0.7, 0.2, 0.1], [0.3, 0.3, 0.4]]])
    assert alignment(a, b, 1).raw.tolist() == pytest.approx([1 / 3])
    # {0, 1} {0, 2}; {2, 1} {0, 1}; {0, 1} {2, 0}: of equal ones the first
    assert alignment(a, b, 2).raw.tolist() == pytest.approx([1 / 2])
    nearest = same_place(3)[4].topk(5).indices.sort().values
    assert nearest.tolist() == [1, 3, 4, 5, 7]
    with pytest.raises(ValueError, match=r"Expected b of the shape of a"):
        alignment(a, b[:, :2, :2])
    with pytest.raises(ValueError, match="Expected k from 1 to 3"):
        alignment(a, b, 4)
    with pytest.raises(ValueError, match="NaN or infinity in b"):
        alignment(a, b / 0)


# A run --------------------------------------------------------------------------------------------


@pytest.fixture
def recipe(recipe_of) -> str:
    return recipe_of("SingleLife", SMALL | {"pairs": "temporal+spatial"}, SIZE, horizon=3)


@pytest.mark.long
def test_a_run_goes_on_to_the_bit_and_is_exported_and_aligned(recipe, frames, tmp_path, capsys):
    fit = ["fit", "-c", recipe, "--save_every", "2"]
    assert cli.main(fit) == 0
    last = tmp_path / "run/checkpoints/last.ckpt"
    whole = read_checkpoint(last)
    again = [*fit, "--trainer.default_root_dir", str(tmp_path / "again")]
    middle = tmp_path / "run/checkpoints/step=2.ckpt"
    assert cli.main([*again, "--ckpt_path", str(middle)]) == 0
    resumed = read_checkpoint(tmp_path / "again/checkpoints/last.ckpt")
    assert resumed["global_step"] == whole["global_step"] == 4
    before = read_checkpoint(middle)["state_dict"]
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, resumed["state_dict"][name]), name
        if name.startswith("teacher."):
            assert torch.equal(weight, whole["state_dict"][f"student.{name[8:]}"])
    assert sum(not torch.equal(w, before[n]) for n, w in whole["state_dict"].items()) > 40
    assert whole["optimizer_states"][0]["param_groups"][0]["betas"] == (0.9, 0.95)

    out = tmp_path / "a"
    export = ["export", "-c", recipe, "--ckpt_path", str(last), "--output"]
    assert cli.main([*export, str(out)]) == 0
    assert cli.main([*export, str(out), "--force"]) == 0  # replaces what it wrote
    theirs = AutoModel.from_pretrained(out, local_files_only=True)
    assert type(theirs) is IJepaModel
    with torch.no_grad():
        hidden = theirs(standardised(frames)).last_hidden_state
    torch.testing.assert_close(
        Encoder.from_pretrained(out).encode(frames).patches.flatten(1, 2), hidden
    )
    loaded = SingleLife.from_pretrained(out)
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, whole["state_dict"][name]), name

    other = tmp_path / "b"
    loud(single_life(1)).save_pretrained(other)
    capsys.readouterr()
    align = ["align", str(out), str(other), "-c", recipe, "--pairs", "temporal+spatial"]
    assert cli.main([*align, "--k", "6", "--output", str(tmp_path / "found.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("most looked at: 6 of 36 patches; 12 pairs (temporal+s")
    assert [line[:22].strip() for line in lines[2:]] == [
        "A and B", "two untrained", "A and its own place", "B and its own place", "chance",
    ]  # fmt: skip
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["chance"] == pytest.approx(1 / 6)
    assert 0 < found["rows"]["A and B"]["centred"]["mean"] < 1
    assert lines[2].split()[3] == f"{found['rows']['A and B']['raw']['mean']:.3f}"
    assert found["rows"]["A and B"]["raw"]["interval"] is None  # of 3 rooms

    itself = ["align", str(out), str(out), "-c", recipe, "--pairs", "augmented"]
    assert cli.main(itself) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[3:] == ["1.000"] * 3
    (other / "decoder.json").unlink()
    assert cli.main(align) == 2
    assert "decoder.json" in capsys.readouterr().err


def test_models_of_other_patches_are_not_aligned(recipe, tmp_path, capsys):
    for name, options in (("a", {}), ("b", {"patch": 6})):
        single_life(**options).save_pretrained(tmp_path / name)
    command = ["align", str(tmp_path / "a"), str(tmp_path / "b"), "-c", recipe]
    assert cli.main(command) == 2
    assert "Expected frames and patches of one size, got (24, 4) and (24, 6)" in (
        capsys.readouterr().err
    )
    for option in ("--clips", "--k", "--gap"):
        assert cli.main([*command, option, "0"]) == 2
        assert "--clips, --k and --gap of at least 1" in capsys.readouterr().err
    same = ["align", str(tmp_path / "a"), str(tmp_path / "a"), "-c", recipe, "--k", "37"]
    assert cli.main(same) == 2
    assert "Expected --k from 1 to 36, got 37" in capsys.readouterr().err
