"""Every metric against another implementation, and what it refuses."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from egowm.evaluation.metrics import catalogue, distribution, perceptual
from egowm.evaluation.metrics.catalogue import load_metrics, pixel_metrics
from egowm.evaluation.metrics.metric import Sample, Unavailable, Values
from egowm.evaluation.metrics.pixel import PSNR, SSIM

READS = {2: "2 frames", 4: "4 frames"}


def frames(seed: int, count: int = 4, side: int = 32) -> np.ndarray:
    """Blurred noise, (count, side, side, 3) uint8."""
    drawn = np.random.default_rng(seed).random((count, side, side, 3))
    soft = sum(np.roll(drawn, (k, j), (1, 2)) for k in range(3) for j in range(3)) / 9
    return np.ascontiguousarray((255 * soft).astype(np.uint8))


def sample(pred: np.ndarray, truth: np.ndarray, name: str = "a") -> Sample:
    none = np.zeros((len(pred), 1), np.float32)
    return Sample(name, truth[0], pred, truth, none, none, None)  # type: ignore[arg-type]


def measured(metric, *pairs, cumulative=True) -> Values:
    for pred, truth in pairs:
        metric.add(sample(pred, truth))
    (values,) = metric.compute(READS, cumulative).values()
    return values


def test_psnr_is_that_of_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio

    pred, truth = frames(0), frames(1)
    expected = [peak_signal_noise_ratio(t, p) for p, t in zip(pred, truth, strict=True)]
    found = measured(PSNR(), (pred, truth))
    assert found.frames[0] == pytest.approx(expected, abs=1e-9)
    assert found.at(2, True)[0] == pytest.approx(np.mean(expected[:2]))
    assert found.at(2, False)[0] == pytest.approx(expected[1])


def test_ssim_is_that_of_scikit_image():
    from skimage.metrics import structural_similarity

    pred, truth = frames(0), frames(1)
    options = {"channel_axis": 2, "gaussian_weights": True, "sigma": 1.5, "data_range": 255}
    expected = [
        structural_similarity(t, p, use_sample_covariance=False, **options)
        for p, t in zip(pred, truth, strict=True)
    ]
    assert measured(SSIM(), (pred, truth)).frames[0] == pytest.approx(expected, abs=1e-5)
    assert measured(SSIM(), (truth, truth)).frames[0] == pytest.approx([1] * 4, abs=1e-6)


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory):
    """A folder with an AlexNet of random weights, as torchvision's file has it."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    known = {k: v for k, v in alexnet().state_dict().items() if k.startswith("features.")}
    folder = tmp_path_factory.mktemp("weights")
    torch.save(known, folder / perceptual.ALEXNET)
    return folder, known


@pytest.mark.long
def test_lpips_is_that_of_torchmetrics(alexnet):
    pytest.importorskip("lpips", reason="lpips is not installed")
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    folder, known = alexnet
    other = _NoTrainLpips(net="alex", pnet_rand=True)
    names = other.net.state_dict()
    other.net.load_state_dict({n: known[f"features.{n.partition('.')[2]}"] for n in names})
    pred, truth = frames(0, side=64), frames(1, side=64)
    pairs = [torch.from_numpy(x.transpose(0, 3, 1, 2) / 127.5 - 1).float() for x in (pred, truth)]
    expected = other(*pairs).flatten()
    metric = perceptual.LPIPS(folder)
    found = measured(metric, (pred, truth)).frames[0]
    assert found == pytest.approx(expected.detach().numpy(), rel=1e-5)
    assert found.min() > 1e-3  # equality of zeros would say nothing
    assert list(metric.settings) == [perceptual.ALEXNET]
    halved = other(*[(pair + 1) / 2 for pair in pairs]).flatten()
    assert halved.mean() < 0.8 * expected.mean()  # so [0, 1] in place of [-1, 1] flatters


def test_fid_is_that_of_torchmetrics():
    """With a small network in place of Inception; cumulative values are of frames 1 to k."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    features = torch.nn.Sequential(torch.nn.Flatten(), _Mean(), torch.nn.Linear(48, 8))
    metric = distribution.FID.__new__(distribution.FID)
    distribution._OfAllClips.__init__(metric)
    metric.metric = FrechetInceptionDistance(features, input_img_size=(3, 32, 32))
    pairs = [(frames(k), frames(k + 9)) for k in range(3)]
    for cumulative in (True, False):
        found = measured(metric, *pairs, cumulative=cumulative)
        assert not found.is_per_clip
        for k in READS:
            other = FrechetInceptionDistance(features, input_img_size=(3, 32, 32))
            for pred, truth in pairs:
                part = slice(0 if cumulative else k - 1, k)
                for video, real in ((pred, False), (truth, True)):
                    planes = torch.from_numpy(video[part].transpose(0, 3, 1, 2).copy())
                    other.update(planes, real=real)
            assert found.at(k, cumulative)[0] == pytest.approx(float(other.compute()), rel=1e-3)
            assert found.at(k, cumulative)[0] > 1e-3


@pytest.mark.long
@pytest.mark.slow
def test_inception_is_read_from_its_file(tmp_path):
    """Features of random weights are those of the package itself."""
    fidelity = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity is not installed"
    )
    kind = fidelity.FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *given, **options: {})
        patch.setattr(kind, "load_state_dict", lambda *given: None)
        random = kind("inception-v3-compat", ["2048"], "none")
    torch.save(random.state_dict(), tmp_path / distribution.INCEPTION)
    planes = torch.from_numpy(frames(0, 1).transpose(0, 3, 1, 2).copy())
    found = distribution.FID(tmp_path).metric
    other = kind("inception-v3-compat", ["2048"], str(tmp_path / distribution.INCEPTION))
    found.inception.use_antialias = False  # torchmetrics' own choice, which it records
    assert torch.allclose(found.inception(planes), other(planes)[0], rtol=1e-4, atol=1e-5)


class _Mean(torch.nn.Module):
    """Means of 48 parts of a picture, from uint8."""

    def forward(self, flat: torch.Tensor) -> torch.Tensor:
        return flat.float().unflatten(1, (48, -1)).mean(2) / 16


@pytest.mark.long
def test_fvd_is_that_of_cd_fvd(tmp_path, monkeypatch):
    """With a small network in place of I3D, which takes 10 s a video on a CPU."""
    module = pytest.importorskip("cdfvd.fvd", reason="cd-fvd is not installed")
    monkeypatch.setattr(module, "load_i3d_model", lambda device, path: _OfVideo())
    torch.save({}, tmp_path / distribution.I3D)
    metric = distribution.FVD(tmp_path)
    pairs = [(frames(k, 12), frames(k + 9, 12)) for k in range(3)]
    for pred, truth in pairs:
        metric.add(sample(pred, truth))
    (found,) = metric.compute({4: "", 10: "", 12: ""}, True).values()
    assert np.isnan(found.at(4, True)[0])  # fewer frames than I3D takes
    for k in (10, 12):
        other = module.cdfvd("i3d", ckpt_path="none", n_fake="full", device="cpu")
        truths, preds = (np.stack([pair[j][:k] for pair in pairs]) for j in (1, 0))
        assert found.at(k, True)[0] == pytest.approx(other.compute_fvd(truths, preds), rel=1e-6)
        assert found.at(k, True)[0] > 1e-6


class _OfVideo(torch.nn.Module):
    """Six features of a video (B, 3, T, 224, 224) in [-1, 1]."""

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return torch.cat([video.mean((2, 3, 4)), video.std((2, 3, 4))], 1)


def test_dreamsim_gets_what_it_wants(tmp_path, monkeypatch):
    """(T, 3, 224, 224) in [0, 1]; torch.hub's folder is what it was."""
    from PIL import Image

    seen, hub = [], torch.hub.get_dir()

    def model(a, b):
        seen.append((a, b))
        return (a - b).abs().mean((1, 2, 3))

    def prepare(image):
        assert isinstance(image, Image.Image)
        pixels = torch.from_numpy(np.array(image.resize((224, 224)))).permute(2, 0, 1)
        return pixels[None] / 255

    def dreamsim(pretrained, cache_dir, dreamsim_type, device):
        assert (pretrained, cache_dir) == (True, str(tmp_path / "dreamsim"))
        torch.hub.set_dir(str(tmp_path))
        return model, prepare

    monkeypatch.setitem(sys.modules, "dreamsim", SimpleNamespace(dreamsim=dreamsim))
    for name in (*perceptual.DREAMSIM, perceptual.DINO):
        (tmp_path / "dreamsim" / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save({}, tmp_path / "dreamsim" / name)
    with pytest.raises(Unavailable, match="ensemble_lora is missing"):
        perceptual.DreamSim(tmp_path)
    for name in perceptual.DREAMSIM_FOLDERS:
        (tmp_path / "dreamsim" / name).mkdir()
    metric = perceptual.DreamSim(tmp_path)
    assert torch.hub.get_dir() == hub
    black, white = np.zeros((2, 16, 16, 3), np.uint8), np.full((2, 16, 16, 3), 255, np.uint8)
    assert measured(metric, (black, white)).frames.tolist() == [[1.0, 1.0]]
    assert seen[0][0].shape == (2, 3, 224, 224)


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PSNR, SSIM])
@pytest.mark.parametrize("scale", [lambda x: x / 255, lambda x: x / 127.5 - 1, lambda x: x * 1.0])
def test_floats_are_refused(kind, scale):
    """[0, 1], [-1, 1] and 0 to 255 alike: a float does not say which it is."""
    truth = frames(0)
    with pytest.raises(ValueError, match=r"Expected pred \(T, H, W, 3\) in uint8, got an array"):
        kind().add(sample(scale(truth), truth))
    with pytest.raises(ValueError, match="Expected truth"):
        kind().add(sample(truth, scale(truth)))


def test_floats_are_refused_for_all_clips_at_once():
    metric = distribution._OfAllClips.__new__(distribution.FVD)
    distribution._OfAllClips.__init__(metric)
    with pytest.raises(ValueError, match="in uint8, got an array"):
        metric.add(sample(frames(0) / 255, frames(1)))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"Expected pred \(T, H, W, 3\)"):
        PSNR().add(sample(frames(0).transpose(0, 3, 1, 2), frames(1)))
    with pytest.raises(ValueError, match="of the shape of truth"):
        PSNR().add(sample(frames(0, 3), frames(1, 4)))


def test_what_is_missing_is_said_for_each_column(tmp_path, monkeypatch):
    """A package, then the weights; with a folder, the file in it."""
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setitem(sys.modules, "dreamsim", SimpleNamespace(dreamsim=None))
    monkeypatch.setitem(sys.modules, "torch_fidelity", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cdfvd.fvd", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cdfvd", SimpleNamespace(fvd=None))
    for folder in (None, tmp_path):
        found = load_metrics(folder)
        assert [column.key for column in found.columns] == ["psnr", "ssim", "straightness_gap"]
        said = {column.key: text for column, text in found.missing.items()}
        assert said["lpips"] == "needs the package lpips: pip install 'egowm[metrics]'"
        assert "dino_vitb16_pretrain.pth" in said["dreamsim"]
        assert distribution.INCEPTION in said["fid"]
        assert distribution.I3D in said["fvd"]
        place = "by --weights" if folder is None else f"{tmp_path / distribution.I3D} is missing"
        assert place in said["fvd"]


@pytest.mark.long
def test_weights_are_tensors_alone(alexnet, tmp_path):
    """A pickle that would run code, and a torn file, are refused by name."""
    pytest.importorskip("lpips", reason="lpips is not installed")
    path = tmp_path / perceptual.ALEXNET
    torch.save({"features": SimpleNamespace()}, path)
    with pytest.raises(ValueError, match=r"expected a file of weights.*copy it again"):
        perceptual.LPIPS(tmp_path)
    path.write_bytes((alexnet[0] / perceptual.ALEXNET).read_bytes()[:1000])
    with pytest.raises(ValueError, match="expected a file of weights"):
        perceptual.LPIPS(tmp_path)
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="expected torchvision's AlexNet"):
        perceptual.LPIPS(tmp_path)


def test_small_frames_leave_a_column_empty():
    found = pixel_metrics().for_size(10, 64)
    assert [column.key for column in found.columns] == ["psnr"]
    assert list(found.missing.values()) == [
        "needs frames of at least 11 pixels a side, these have 10"
    ]


def test_every_column_is_named_once():
    columns = [column for kind in catalogue.KINDS for column in kind.columns]
    assert len({column.key for column in columns}) == len(columns) == 7
    assert {c.key for c in columns if not c.higher_is_better} == {
        *("lpips", "dreamsim", "fid", "fvd", "straightness_gap")
    }
