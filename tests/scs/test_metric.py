import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from egowm.scs import SCS, scs
from egowm.scs.score import overlap, summarise
from tests.forks import forks


def clips(count=4):
    rng = np.random.default_rng(5)
    found = []
    for k in range(count):
        shape = (3 + k, 1 + k % 3, 16, 16 + k)  # other lengths, objects and sizes
        present = rng.random((2, *shape[:2], 1, 1)) < 0.8
        found.append((rng.random((2, *shape)) < 0.4) & present)
    return found


def test_metric_of_one_clip_is_the_function():
    pred, target = clips()[2]
    found = SCS()
    found.update(torch.from_numpy(pred), torch.from_numpy(target))
    assert found.compute()["scs"].item() == pytest.approx(scs(pred, target), rel=1e-6)


def test_metric_of_several_updates_is_the_summary():
    found, lost = SCS(), np.zeros((3, 1), bool)
    lost[2] = True
    expected = []
    for k, (pred, target) in enumerate(clips()):
        missing = lost if k == 0 else None
        tensor = None if missing is None else torch.from_numpy(missing)
        found.update(torch.from_numpy(pred), torch.from_numpy(target), tensor)
        expected.append(overlap(pred, target, lost=missing))
    values, want = found.compute(), summarise(expected)
    for name in ("scs", "scs_davis", "scs_visible"):
        assert values[name].item() == pytest.approx(getattr(want, name), rel=1e-6)
    for k, value in want.scs_at.items():
        assert values[f"scs_at_{k}"].item() == pytest.approx(value, rel=1e-6, nan_ok=True)


def test_reset_and_no_clip():
    found = SCS()
    with pytest.warns(UserWarning, match="before"):
        assert torch.isnan(found.compute()["scs"])
    masks = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    found.update(masks, masks)
    assert found.compute()["scs"] == 100
    found.reset()
    found.update(masks, torch.cat([masks[:1], ~masks[1:]]))
    assert found.compute()["scs"] == 0


def score_shares(rank: int, folder: Path) -> None:
    """In one of two processes: both scores, in a file of its own."""
    torch.set_num_threads(1)
    place = f"file://{folder / 'init'}"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    metric, found = SCS(), []
    for shares in ([[0, 1, 2, 3, 4], []], [[0, 2, 4], [1, 3, 0]]):
        for k in shares[rank]:
            generator = torch.Generator().manual_seed(k)
            clip = torch.rand(2, 3 + k, 1 + k % 3, 16, 16, generator=generator)
            metric.update(*(clip < 0.4), clip=k)
        found.append(metric.compute()["scs"].item())
        metric.reset()
    (folder / str(rank)).write_text(repr(found))
    dist.destroy_process_group()


def test_two_processes_agree_on_5_clips(tmp_path):
    """One process has no clip; then the sampler gave both three, so that clip 0 comes twice."""
    ranks = [forks().Process(target=score_shares, args=(rank, tmp_path)) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(100)
        assert rank.exitcode == 0
    found = [value for rank in "01" for value in json.loads((tmp_path / rank).read_text())]
    data = []
    for k in range(5):
        generator = torch.Generator().manual_seed(k)
        data.append(torch.rand(2, 3 + k, 1 + k % 3, 16, 16, generator=generator) < 0.4)
    want = summarise([overlap(*pair) for pair in data]).scs
    assert found == pytest.approx([want] * 4, rel=1e-6)


def test_a_clip_that_comes_again_counts_once():
    found, pairs = SCS(), clips(3)
    for number in (0, 1, 2, 0, 1):
        found.update(*map(torch.from_numpy, pairs[number]), clip=number)
    want = summarise([overlap(*pair) for pair in pairs]).scs
    assert found.compute()["scs"].item() == pytest.approx(want, rel=1e-6)
    for _ in range(2):  # without a number every update counts
        found.update(*map(torch.from_numpy, pairs[0]))
    want = summarise([overlap(*pairs[k]) for k in (0, 1, 2, 0, 0)]).scs
    assert found.compute()["scs"].item() == pytest.approx(want, rel=1e-6)
    with pytest.raises(ValueError, match="Expected the clip's number in"):
        found.update(*map(torch.from_numpy, pairs[0]), clip=2**24)
