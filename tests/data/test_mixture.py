"""Several data sets in one recipe: whose batches come, and whose ranges count."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer

from egowm.actions import ActionSpec
from egowm.backbones import SVD
from egowm.data import Clip, ClipData, Episode, Mixture, Window
from egowm.data.loader import TrainingLoader
from egowm.evaluation.roll_out import batches, choose
from egowm.world_model import WorldModel

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
WINDOW = Window(1, 4, 1, 16, 16)


def numbered(indices) -> np.ndarray:
    return np.stack([np.full((16, 16, 3), k, np.uint8) for k in indices])


class Driven(ClipData):
    """`count` episodes of 20 frames; frame k is k, and step k is `step` k in every dimension."""

    meaning = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)

    def __init__(self, step: float = 0.01, count: int = 2, window: Window = Window()) -> None:
        super().__init__("", window)
        self.step, self.count = step, count

    def episodes(self, split: str) -> list[Episode]:
        steps = (self.step * np.arange(19)[:, None] * np.ones(3)).astype(np.float32)
        return [Episode(f"{split}_{k}", 20, numbered, steps) for k in range(self.count)]


def mixture(**options) -> Mixture:
    sources = {"slow": Driven(0.01), "fast": Driven(0.03, count=6)}
    return Mixture(sources, WINDOW, batch_size=3, **options)


def first_frames(batch: Clip) -> list[int]:
    return batch.frames[:, 0, 0, 0, 0].tolist()


@pytest.mark.long
def test_a_training_batch_comes_from_one_source():
    data = mixture(weights={"slow": 3.0, "fast": 1.0})
    seen: Counter[str] = Counter()
    loader = data.train_dataloader()
    assert len(loader) == (2 + 6) * 16 // 3
    for _ in range(20):
        for batch in loader:
            assert batch.frames.shape == (3, 5, 3, 16, 16)
            (source,) = set(batch.source)
            assert all(name.startswith(f"{source}_train_") for name in batch.name)
            step = {"slow": 0.01, "fast": 0.03}[source]
            start = torch.tensor(first_frames(batch))
            torch.testing.assert_close(batch.actions[:, 0, 0], step * start)
            seen[source] += 1
    assert seen["slow"] / seen.total() == pytest.approx(0.75, abs=0.05)


@pytest.mark.long
def test_without_weights_every_clip_is_as_likely():
    loader, seen = mixture().train_dataloader(), Counter()
    for _ in range(20):
        seen.update(batch.source[0] for batch in loader)
    assert seen["fast"] / seen.total() == pytest.approx(6 / 8, abs=0.05)


def test_training_order_is_seeded_changes_and_leaves_nothing_out():
    def epochs(seed: int) -> list[list[str]]:
        loader = mixture(seed=seed).train_dataloader()
        return [[name for batch in loader for name in batch.name] for _ in range(2)]

    first, second = epochs(0)
    assert epochs(0) == [first, second]
    assert first != second != epochs(1)[1]
    slow = [name for name in first if name.startswith("slow")]
    assert len(set(slow)) == min(len(slow), 32)  # none twice before all have come


def test_processes_share_out_whole_test_batches():
    """What Lightning does to a loader on two devices."""
    from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
    from lightning.pytorch.utilities.data import _update_dataloader

    shared = []
    for rank in range(2):
        loader = mixture().test_dataloader()
        sampler = DistributedSamplerWrapper(
            loader.sampler, num_replicas=2, rank=rank, shuffle=False, drop_last=True
        )
        shared.append(list(_update_dataloader(loader, sampler)))
    assert [len(batches) for batches in shared] == [5, 5]
    names = [name for batches in shared for batch in batches for name in batch.name]
    assert all(len(set(b.source)) == 1 for batches in shared for b in batches)
    assert len(set(names)) == len(names)


def test_processes_share_out_training_batches():
    alone, data = mixture().train_dataloader(), mixture()
    shares = [TrainingLoader(alone.clips, alone.order, 0, rank, 2) for rank in range(2)]
    assert [len(share) for share in shares] == [21, 21]
    whole = [batch.name for batch in data.train_dataloader()]
    found = [[batch.name for batch in share] for share in shares]
    assert found == [whole[:42:2], whole[1:42:2]]


def test_test_clips_come_once_in_order_batches_do_not_mix():
    batches = list(mixture().test_dataloader())
    names = [name for batch in batches for name in batch.name]
    assert len(names) == len(set(names)) == (2 + 6) * 4
    assert [len(batch.name) for batch in batches] == [3, 3, 2, *[3] * 8]
    assert all(len(set(batch.source)) == 1 for batch in batches)
    assert names[:2] == ["slow_test_0_00000", "slow_test_0_00005"]
    assert len(mixture().test_dataloader()) == 11


def test_a_source_keeps_its_stride_and_takes_the_window():
    """A source at 8 Hz and stride 2 goes with one at 4 Hz."""
    quick = Driven(0.02, window=Window(stride=2))
    quick.meaning = replace(Driven.meaning, rate_hz=8.0)
    data = Mixture({"slow": Driven(), "quick": quick}, WINDOW)
    windows = data.windows("train", tiled=False)
    clip = windows[len(windows) - 1]
    assert clip.frames[:, 0, 0, 0].tolist() == [11, 13, 15, 17, 19]
    assert data.clip_meaning.rate_hz == 4.0
    assert data.spec == data.specs["slow"]
    longer = data.with_horizon(6).windows("train", tiled=False)[0]
    assert longer.frames.shape == (7, 3, 16, 16)


def test_specs_differ_in_range_only():
    specs = mixture().specs
    assert list(specs) == ["slow", "fast"]
    np.testing.assert_allclose(specs["fast"].high, 3 * np.array(specs["slow"].high), rtol=1e-6)
    specs["slow"].compare(specs["fast"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("dx", "dy", "turn")}, r"actions of sources a and b differ in names: \('dx',"),
        ({"units": ("m", "m", "deg")}, "differ in units"),
        ({"frame": "world"}, "differ in frame: body against world"),
        ({"kind": "command"}, "differ in kind: se2 against command"),
        ({"rate_hz": 5.0}, "a and b differ in rate: 4 Hz against 5 Hz. Set window.stride of b"),
    ],
)
def test_sources_of_another_meaning_are_refused(change: dict, message: str):
    other = Driven()
    other.meaning = replace(Driven.meaning, **change)
    with pytest.raises(ValueError, match=message):
        Mixture({"a": Driven(), "b": other}, WINDOW)


def test_sources_with_and_without_states_are_refused():
    other = Driven()
    other.state_meaning = replace(Driven.meaning, kind="command")
    with pytest.raises(ValueError, match="source a has no states and the others have"):
        Mixture({"a": Driven(), "b": other}, WINDOW)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"slow": 1.0}, "a weight for each of slow, fast, got weights for slow"),
        ({"slow": 1.0, "fast": 0.0}, "a number above 0, got 0.0 for fast"),
        ({"slow": 1.0, "fast": float("nan")}, "a number above 0, got nan for fast"),
    ],
)
def test_bad_weights(weights: dict, message: str):
    with pytest.raises(ValueError, match=message):
        mixture(weights=weights)
    with pytest.raises(ValueError, match="expected at least one source"):
        Mixture({})


def test_a_source_without_clips_is_named():
    with pytest.raises(ValueError, match="Driven : no test clip"):
        Mixture({"a": Driven(), "b": Driven(count=0)}, WINDOW).test_dataloader()


def test_evaluation_batches_do_not_mix_sources():
    clips = choose(mixture(), 32)
    found = [[clips[k].source for k in numbers] for numbers in batches(clips)]
    assert [len(sources) for sources in found] == [4] * 8
    assert all(len(set(sources)) == 1 for sources in found)
    ragged = [len(numbers) for numbers in batches(clips[3:14])]
    assert ragged == [4, 1, 4, 2]


# The world model ---------------------------------------------------------------------------------


@pytest.fixture
def fitted(obedient):
    """As after `setup` on the mixture."""
    obedient.specs = mixture().specs
    obedient.spec = obedient.specs["slow"]
    return obedient


def clip_of(source: str) -> Clip:
    return next(b for b in mixture().test_dataloader() if b.source[0] == source)


def test_the_loss_normalises_by_source(fitted):
    """Three times the steps under three times the range are the same to the network."""

    def loss(clip: Clip) -> float:
        return fitted.loss(clip, torch.Generator().manual_seed(0))[0].item()

    slow = clip_of("slow")
    fast = slow._replace(actions=3 * slow.actions, source=["fast"] * 3)
    assert loss(fast) == pytest.approx(loss(slow), rel=1e-5)
    assert loss(fast._replace(source=["slow"] * 3)) != pytest.approx(loss(slow), rel=1e-4)
    with pytest.raises(ValueError, match=r"Unknown source 'mars'.*fitted on slow, fast"):
        loss(slow._replace(source=["mars"] * 3))
    with pytest.raises(ValueError, match=r"a batch of one source.*got fast, slow"):
        loss(slow._replace(source=["slow", "fast", "slow"]))


@pytest.mark.long
def test_a_rollout_takes_the_ranges_of_its_source(fitted):
    clip = clip_of("slow")

    def frames(actions, **options):
        generator = torch.Generator().manual_seed(0)
        return fitted.rollout(clip.frames[:, :1], actions, generator=generator, **options).frames

    slow = frames(clip.actions)
    assert torch.equal(frames(clip.actions, source="slow"), slow)
    fast = frames(3 * clip.actions, source="fast")
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-4)
    assert not torch.allclose(frames(clip.actions, source="fast"), slow, atol=1e-2)
    with pytest.raises(ValueError, match=r"Unknown source 'mars'.*fitted on slow, fast"):
        frames(clip.actions, source="mars")
    made = fitted.predict_step(clip._replace(actions=3 * clip.actions, source=["fast"] * 3), 0)
    torch.testing.assert_close(made.frames, slow, rtol=0, atol=1e-4)


def test_a_model_of_one_data_set_knows_no_sources(world_model):
    clip = clip_of("slow")
    assert world_model.source_of(clip) is None
    with pytest.raises(ValueError, match="one data set without a name: leave source out"):
        world_model.rollout(clip.frames[:, :1], clip.actions, source="slow")


@pytest.mark.long
def test_checkpoints_and_exports_keep_the_sources(tiny_prior: Path, tmp_path: Path):
    data = mixture()
    model = WorldModel(SVD(str(tiny_prior)))
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=2,
        limit_val_batches=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    assert model.specs == data.specs
    assert model.spec == data.specs["slow"]
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    fresh = WorldModel(SVD(str(tiny_prior)))
    fresh.on_load_checkpoint(saved)
    assert (fresh.spec, fresh.specs) == (model.spec, model.specs)
    del saved["egowm"]["specs"]  # as checkpoints of one data set were before there were sources
    fresh.on_load_checkpoint(saved)
    assert fresh.specs == {}
    model.save_pretrained(tmp_path / "export")
    loaded = WorldModel.from_pretrained(tmp_path / "export")
    assert (loaded.spec, loaded.specs) == (model.spec, model.specs)
    card = (tmp_path / "export" / "README.md").read_text()
    assert "Ranges of source `fast`:" in card
    assert "| dx | m | -0.54 | 0.54 |" in card
