"""Every writer of the package, with what it writes twice and the reader of that."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from egowm import video

FRAMES = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)


class Writer(NamedTuple):
    """A way to write.

    write: puts version 1 or 2 into a folder. read: what is there, by the public reader; a dict
    where files come one by one. prepare: makes what it needs `beside` the folder, or in it. silent:
    it goes on where nothing can be written.
    """

    write: Callable[[Path, int], Any]
    read: Callable[[Path], Any]
    prepare: Callable[[Path], Any] = lambda root: None
    silent: bool = False


def beside(root: Path) -> Path:
    """The inputs of a writer."""
    return root.with_name("inputs")


def frames(version: int) -> np.ndarray:
    return FRAMES // version


def write_checkpoint(root: Path, version: int) -> None:
    import torch

    from egowm.training.checkpoints import write_checkpoint

    write_checkpoint({"n": version, "w": torch.full((9,), float(version))}, root / "step=1.ckpt")


def read_checkpoint(root: Path) -> Any:
    from egowm.training.checkpoints import newest, read_checkpoint

    found = read_checkpoint(newest(root) or root)
    return found["n"], found["w"].tolist()


def keep_checkpoints(root: Path, version: int) -> None:
    import torch

    from egowm.training.checkpoints import RunCheckpoint, write_checkpoint

    trainer: Any = SimpleNamespace(global_step=version, fast_dev_run=False, is_global_zero=True)
    trainer.save_checkpoint = lambda path, weights_only: write_checkpoint(
        {"n": version, "w": torch.ones(3)}, path
    )
    RunCheckpoint(root).on_train_end(trainer, None)  # type: ignore[arg-type]


def show_pictures(root: Path, version: int) -> None:
    from egowm.training.pictures import RolloutPictures

    trainer: Any = SimpleNamespace(default_root_dir=root, global_step=1, loggers=[])
    RolloutPictures()._show(trainer, frames(version)[0], frames(version), 4.0)


def record_run(root: Path, version: int) -> None:
    from egowm.training.run_record import RunRecord

    RunRecord(root, ["fit", str(version)], {}).finish()


def describe_actions(root: Path, version: int) -> None:
    from egowm.actions import ActionSpec

    spec = ActionSpec(("x",), ("m",), "body", "difference", float(version), (-1.0,), (1.0,))
    spec.save(root / "spec.json")


def cache_tracks(root: Path, version: int) -> None:
    from egowm.scs.cache import CachedTracker
    from egowm.scs.trackers.simple import CopyTracker

    masks = np.ones((1, 16, 16), bool)
    CachedTracker(CopyTracker(), root / "tracks").track(frames(version), masks)


def write_run(root: Path, version: int) -> None:
    import torch

    from egowm.actions import ActionSpec
    from egowm.clip import Clip
    from egowm.evaluation.run_writer import new_run

    spec = ActionSpec(("x",), ("m",), "body", "difference", 4.0, (-1.0,), (1.0,))
    pixels = torch.from_numpy(frames(version).transpose(0, 3, 1, 2).copy())[None]
    none = torch.zeros(1, 0)
    clip: Any = Clip(pixels, torch.zeros(1, 2, 1), none, none, [""], ["rooms"], ["a"])  # type: ignore
    with new_run(root / "run", spec, "rooms", "model", {"pred": "model"}) as run:
        run.truth(clip, 0)
        run.annotation("a", np.ones((16, 16), np.uint8))
        run.finish(str(version))


def read_run(root: Path) -> Any:
    from egowm.evaluation.run_folder import RUN
    from egowm.files import check_folder

    check_folder(root / "run", RUN, force=True)  # as the next command does
    title = json.loads((root / "run/clips.json").read_text())["title"]
    return title, video.read_frames(root / "run/gt/a").tobytes()


def content(path: Path) -> Any:
    """x264 does not always write the same bytes: of a film, frames and brightness."""
    if path.suffix != ".mp4":
        return path.read_bytes()
    shown = video.read_frames(path)
    return shown.shape, round(float(shown.mean()))


def real_files(root: Path) -> list[Path]:
    found = (path for path in root.rglob("*") if path.is_file())
    return [path for path in found if ".egowm-" not in str(path)]


def files_of(root: Path) -> dict[str, Any]:
    """For formats whose readers are tested elsewhere."""
    return {str(path): content(path) for path in real_files(root)}


def text_of(name: str) -> Callable[[Path], Any]:
    return lambda root: json.loads((root / name).read_text())


def of_scs(root: Path, version: int) -> None:
    from egowm.scs.result import write_whole

    write_whole(root / "scs.json", json.dumps({"scs": version}))


def draw_sheet(root: Path, version: int) -> None:
    from egowm.data.inspect.contact_sheet import write_sheet

    write_sheet(root / "sheet.png", frames(version)[0])


def write_sums(root: Path, version: int) -> None:
    from egowm.checksums import write_sums

    write_sums(root, {"frames-0/00000.npy": f"{version:064x}"})


def read_sums(root: Path) -> Any:
    from egowm.checksums import read_sums

    return read_sums(root)


def write_shard(root: Path, version: int) -> None:
    import torch

    from egowm.training.latents.shards import save_shard

    save_shard({"latents": torch.full((4,), float(version))}, root / "0.safetensors", "key")


def read_shard(root: Path) -> Any:
    from safetensors.torch import load_file

    from egowm.training.latents.shards import damage

    file = root / "0.safetensors"
    return damage(file, "key", thorough=True), load_file(file)["latents"].tolist()


def draw_room(root: Path, version: int) -> None:
    """A room is drawn once; version 2 draws another beside it."""
    from egowm.worlds.motion import Disturbances
    from egowm.worlds.store import make_recording

    make_recording(root, "robot", 2, (8, 8), Disturbances(), "", version)


# Commands ---------------------------------------------------------------------------------------


@cache
@cache
def tiny_backbone(folder: Path) -> Any:
    """Loaded once: what is written is written by copies of the process that prepared it."""
    from egowm.backbones import SVD
    from tests.conftest import write_tiny_prior

    if not (folder / "model_index.json").is_file():
        write_tiny_prior(folder)
    backbone = SVD(str(folder))
    backbone.load()
    return backbone


@cache
def tiny_model(folder: Path) -> Any:
    from egowm.world_model import WorldModel

    model = WorldModel(tiny_backbone(folder), steps=1, chunk=2, spec=wheeled())
    model.configure_model()
    return model.eval()


def wheeled() -> Any:
    from egowm.actions import ActionSpec

    names, units, high = ("dx", "dy", "dyaw"), ("m", "m", "rad"), (0.3, 0.1, 0.1)
    return ActionSpec(names, units, "body", "se2", 4.0, tuple(-x for x in high), high)


def of_folder(name: str, *, besides: str = "") -> Callable[[Path], Any]:
    """A folder that comes as a whole, after what its command does first. besides: a folder in it
    that is none of the result."""

    def read(root: Path) -> Any:
        from egowm.files import MARK, FolderKind, check_folder

        folder = root / name
        check_folder(folder, FolderKind("", r".+", lambda folder: True), force=True)
        found = {str(p.relative_to(folder)): content(p) for p in real_files(folder)}
        left_out = (MARK, besides) if besides else (MARK,)
        return {k: v for k, v in found.items() if not k.startswith(left_out)} or None

    return lambda root: (found := read(root)) and tuple(sorted(found.items()))


def of_rooms(root: Path) -> Any:
    """The rooms in a cache; one that is not whole is not there."""
    rows = sorted((root / "cache").glob("*/row.json"))
    return [[content(p) for p in sorted(row.parent.iterdir())] for row in rows] or None


def once(write: Callable[[Path], Any]) -> Callable[[Path, int], Any]:
    """For what is begun once: version 1 is nothing."""
    return lambda root, version: version > 1 and write(root)


class Told(Exception):
    """The line that a command said on its way to status 2."""


def run(main: Callable[[list[str]], int | None], *words: str | Path) -> None:
    said = io.StringIO()
    with redirect_stderr(said):
        status = main([str(word) for word in words])
    if status:
        assert status == 2, status
        raise Told(said.getvalue().rstrip().rpartition("\negowm")[-1])


def export_model(root: Path, version: int) -> None:
    from egowm.export import save

    model = tiny_model(beside(root))
    model.steps = version + 1
    save(model, root / "export")


def save_pipeline(root: Path, version: int) -> None:
    from egowm.pipeline_folder import save

    model = tiny_model(beside(root))
    model.steps = version + 1
    save(model, root / "pipeline")


def save_prior(root: Path, version: int) -> None:
    from egowm.pretraining.prior import save_pipeline

    backbone = tiny_backbone(beside(root))
    next(backbone.network.parameters()).data.fill_(version)
    save_pipeline(backbone, root / "prior")


def save_vae(root: Path, version: int) -> None:
    import torch
    from diffusers import AutoencoderKL

    from egowm.pretraining import Autoencoder

    torch.manual_seed(version)
    module = Autoencoder()
    module.vae = AutoencoderKL(block_out_channels=(32,))
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        default_root_dir=root, global_step=module._measured_at, is_global_zero=True
    )
    module.on_fit_end()


def trajectories(root: Path) -> None:
    """Two recordings in NWM's layout."""
    import pickle

    for k in range(2):
        folder = beside(root) / f"drive_{k}"
        for j in range(4):
            video.write_image(folder / f"{j}.jpg", np.full((16, 16, 3), 40 * k + j, np.uint8))
        labels = {"position": np.arange(8.0).reshape(4, 2), "yaw": np.zeros(4)}
        (folder / "traj_data.pkl").write_bytes(pickle.dumps(labels))


def nwm(root: Path, val_share: float = 0.0) -> Any:
    from egowm.data import NWM, Window

    window = Window(context=1, horizon=1, height=16, width=16)
    return NWM(str(beside(root)), window, val_share=val_share, test_share=0)


def pack(root: Path) -> None:
    from egowm.data.packing import pack

    pack(nwm(root), root / "pack", (16, 16), workers=1, progress=False)


def read_pack(root: Path) -> Any:
    from egowm.data import Packed, Window

    if not (root / "pack/pack.json").exists():
        return None
    data = Packed(str(root / "pack"), Window(context=1, horizon=1, height=16, width=16))
    return [episode.read([0, 3]).tobytes() for episode in data.split("train")]


def pack_for_a_bucket(root: Path) -> None:
    from egowm.data.lit_packing import pack_litdata

    pack_litdata(nwm(root), root / "lit", (16, 16), progress=False)


def read_from_a_bucket(root: Path) -> Any:
    from egowm.data import LitData, Window

    if not (root / "lit/frames/index.json").exists():
        return None
    data = LitData(str(root / "lit"), Window(context=1, horizon=1, height=16, width=16))
    return [episode.read([0, 3]).tobytes() for episode in data.split("train")]


def imagine(root: Path, version: int) -> None:
    import torch

    from egowm.data import ImaginedWriter

    pixels = torch.from_numpy(frames(version).transpose(0, 3, 1, 2).copy())
    with ImaginedWriter(root / "dreams", wheeled(), force=True) as writer:
        writer.add_rollout(pixels[:1], pixels[1:] / 255, torch.full((2, 3), version / 20))


def record_for_rerun(root: Path, version: int) -> None:
    from egowm.evaluation.rerun_recording import write_rrd
    from egowm.evaluation.scenes import Scene

    write_rrd([Scene("a", 4.0, {"gt": frames(version)})], root / "a.rrd")


def read_by_rerun(root: Path) -> Any:
    """The pictures, as they were encoded; each file has numbers of its own besides."""
    from rerun.chunk import RrdReader

    if not (root / "a.rrd").exists():
        return None
    found = []
    for chunk in RrdReader(str(root / "a.rrd")).stream().to_chunks():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            if name.endswith(":blob"):
                found += [bytes(row[0]) for row in batch.column(name).to_pylist()]
    return sorted(found)


def keep_predictions(root: Path, version: int) -> None:
    from egowm.evaluation import kept

    kept._write(root / "a.npz", frames(version)[None], [0.5], 7)


def read_predictions(root: Path) -> Any:
    from egowm.evaluation import kept

    found = kept._read(root / "a.npz")
    return found and found["frames"].tobytes()


def keep_labels(root: Path, version: int) -> None:
    from egowm.data import label_index

    kept = label_index.Kept(np.full((3, 2), float(version)), np.ones((4, 1)), np.ones(4))
    label_index._save(root / "kept.npz", {"a": [[1, 1]]}, {"a": kept})


def read_labels(root: Path) -> Any:
    from egowm.data import label_index

    return label_index._load(root / "kept.npz", {"a": [[1, 1]]})["a"].actions.tolist()


def clips(root: Path) -> None:
    """Truth, two predictions and structures of two clips, and their masks."""
    from egowm.scs.masks import write_palette

    for k in range(2):
        labels = np.zeros((3, 24, 24), np.uint8)
        labels[:, 4:12, 4:12], labels[:, 14:20, 2 + k : 10] = 1, 2
        colours = np.array([[90, 90, 90], [200, 30, 30], [30, 200, 30]], np.uint8)
        for name, moved in (("gt", 0), ("pred1", 1), ("pred2", 3)):
            shown = np.stack([np.roll(row, moved * t, 1) for t, row in enumerate(labels)])
            video.write_frames(beside(root) / name / f"clip{k}", colours[shown])
            for t, row in enumerate(shown):
                write_palette(beside(root) / "masks" / name / f"clip{k}/{t:05d}.png", row)
        write_palette(beside(root) / f"annotations/clip{k}.png", labels[0])


def scores_of(root: Path, version: int) -> list[str | Path]:
    found = beside(root)
    given = [found / f"pred{version}", found / "gt", "--annotations", found / "annotations"]
    return ["score", *given, "--tracker", "palette"]


def score(root: Path, version: int) -> None:
    from egowm.commands.scs.main import main

    words = [*scores_of(root, version), "--cache", root / "tracks"]
    outputs = {"json": "scs.json", "csv": "scs.csv", "report": "page.html"}
    pairs = [x for key, name in outputs.items() for x in (f"--{key}", root / name)]
    run(main, *words, *pairs)


def two_scores(root: Path) -> None:
    from egowm.commands.scs.main import main

    clips(root)
    for version in (1, 2):
        words = scores_of(root, version)
        run(main, *words, "--json", beside(root) / f"{version}.json")


def compare(root: Path, version: int) -> None:
    from egowm.commands.scs.main import main

    pair = [beside(root) / f"{k}.json" for k in (version, 1)]
    run(main, "compare", *pair, "--json", root / "compared.json")


def annotate(root: Path) -> None:
    from egowm.commands.scs.main import main

    masks = ["--masks", beside(root) / "annotations"]
    run(main, "annotate", beside(root) / "gt", *masks, "--output", root / "drawn")


def track(root: Path, version: int) -> None:
    from egowm.scs.write_masks import track_folder

    found = beside(root)
    pred = found / f"pred{version}"
    track_folder(pred, found / "annotations", root / "tracked", tracker="palette", gt=found / "gt")


def export_davis(root: Path, version: int) -> None:
    from egowm.commands.scs.main import main

    masks = [beside(root) / "masks" / name for name in (f"pred{version}", "gt")]
    run(main, "export", *masks, "--davis", root / "davis", "--force")


def demo_of_scs(root: Path) -> None:
    from egowm.commands.scs import demo
    from egowm.commands.scs.main import main

    with patch.multiple(demo, NUM_CLIPS=2, NUM_FRAMES=2, SIZE=32):
        run(main, "demo", "--output", root / "demo", "--force")


def tiny_sam2(root: Path) -> None:
    from tests.scs.trackers.sam2.conftest import tiny_model

    tiny_model().save_pretrained(beside(root))


def convert_sam2(name: str) -> Callable[[Path], None]:
    def convert(root: Path) -> None:
        from egowm.commands.scs.main import main

        run(main, "convert-sam2", beside(root), root / name)

    return convert


def copy_recipe(root: Path) -> None:
    from egowm.commands.recipes import main

    run(main, "copy", "rooms_cosmos", root, "--force")


def convert_drive(root: Path, version: int) -> None:
    from egowm.data.convert import convert as module
    from egowm.data.convert.drive import Drive

    times, ahead = np.arange(30) / 4, np.linspace(0, 9 * version, 30)
    poses = np.stack([ahead, 0 * ahead, 0 * ahead], 1)
    picture = video.encode_image(frames(version)[0])
    drive = Drive("d", times, lambda numbers: ((k, picture) for k in numbers), times, poses)
    with patch.object(module, "_drives", lambda *given: [drive]):
        list(module.convert(beside(root), root / "drives", force=True))


def record(root: Path, version: int) -> None:
    """As all subclasses of `RecordingWriter` do."""
    from egowm.data import OneXWriter

    with OneXWriter(root / "1x", force=True) as writer:
        writer.add(frames(version), np.full((3, 25), version, np.float32))


def roll_out(root: Path, version: int) -> None:
    import torch

    from egowm.commands import rollout
    from egowm.commands.work import rollout as work

    pixels = torch.from_numpy(frames(version).transpose(0, 3, 1, 2).copy())[None] / 255
    model = SimpleNamespace(
        **{"base": str(root), "num_context": 1, "makes_frames": True},
        spec=wheeled(),
        rollout=lambda *given, **more: SimpleNamespace(frames=pixels),
    )
    model.to = lambda device: model
    video.write_image(beside(root) / "a.png", FRAMES[0])
    opened = patch.object(work, "from_pretrained", lambda *given, **more: model)
    with opened:
        words = ["--actions", "www", "--size", "16", "16", "--output", root / "walk", "--force"]
        run(rollout.main, beside(root) / "a.png", *words)


def plan_ways(root: Path, version: int) -> None:
    plan_rooms(root, version, "--output", root / "plan", "--force")


def fill_a_share(root: Path) -> None:
    """Of the rooms of `--launch`."""
    shared = ["--cache", root / "cache", "--shard", "1/1"]
    plan_rooms(root, 1, "--output", root / "plan", "--simulator", *shared)


def plan_rooms(root: Path, version: int, *words: str | Path) -> None:
    from egowm.commands import plan
    from egowm.commands.work import plan as work
    from egowm.commands.work import plan_rooms as rooms
    from egowm.evaluation import agents, navigation

    made = navigation.Run(np.zeros((4, 3)), frames(version), 0.1 * version, 1.0, True, True)
    foreseen = agents.Foreseen(0, np.zeros((3, 3)), made.frames[1:])
    acted = patch.object(rooms, "act_out", lambda *given: made)
    with acted, patch.object(work, "_agent", lambda args: SimpleNamespace(plans=[foreseen])):
        run(plan.main, "--rooms", "1", "--size", "16", "16", *words)


def evaluate(kind: str) -> Callable[[Path, int], None]:
    """Predict, score and report in one go, without a model."""

    def write(root: Path, version: int) -> None:
        import torch

        from egowm.commands.demo_folder import DEMO
        from egowm.commands.work import demo
        from egowm.evaluation.evaluate import write_results
        from egowm.evaluation.rows import Row
        from egowm.evaluation.run_folder import RUN
        from egowm.evaluation.run_writer import new_run

        if kind == "demo":
            training = demo._started(root / "run")
            (training / "export").mkdir(parents=True)
            (training / "export/weights.safetensors").write_bytes(b"weights")
        clip = some_clip(version)
        about = (wheeled(), "rooms", "model", {"pred": "model"})
        row: Any = Row("pred", "model", SimpleNamespace(device=torch.device("cpu")))  # type: ignore
        with new_run(root / "run", *about, DEMO if kind == "demo" else RUN) as run:
            predicted(run, clip)
            run.finish(str(version))
            write_results(measured([row], clip).measure(run, {}, None), run)

    return write


def predicted(run: Any, clip: Any) -> None:
    """Truth, structures and all predictions of one clip."""
    from egowm.evaluation.run_writer import CODEC, MEAN

    run.truth(clip, 0)
    run.annotation("a", np.ones((16, 16), np.uint8))
    for folder in ("pred", MEAN, CODEC):
        run.prediction(folder, clip, 0, clip.frames[0, 1:] / 255)


def measured(rows: list[Any], clip: Any) -> Any:
    """What measures a run of one clip."""
    from egowm.evaluation.measure import Evaluation
    from egowm.evaluation.metrics.catalogue import pixel_metrics
    from egowm.evaluation.protocol import Protocol
    from egowm.scs.trackers import load_tracker

    protocol = Protocol("egowm", 2, {2: "2 frames"})
    tracker = load_tracker("copy")
    return Evaluation(rows, [clip.one(0)], [0], protocol, [0], pixel_metrics(), tracker)


def some_clip(version: int) -> Any:
    import torch

    from egowm.clip import Clip

    pixels = torch.from_numpy(frames(version).transpose(0, 3, 1, 2).copy())[None]
    none = torch.zeros(1, 0)
    return Clip(pixels, torch.zeros(1, 2, 3), none, none, [""], ["rooms"], ["a"])  # type: ignore


def predict(root: Path, version: int) -> None:
    from egowm.evaluation.prediction_writer import PredictionWriter

    clip = some_clip(version)
    source = SimpleNamespace(source="rooms", annotation=lambda name: np.ones((16, 16), np.uint8))
    trainer: Any = SimpleNamespace(datamodule=source, ckpt_path="a.ckpt")
    model: Any = SimpleNamespace(spec=wheeled())
    writer = PredictionWriter(root / "run", announced=True)
    try:
        writer.on_predict_start(trainer, model)
        made: Any = SimpleNamespace(frames=clip.frames[:, 1:] / 255)
        writer.on_predict_batch_end(trainer, model, made, clip, 0)
        writer.on_predict_end(trainer, model)
    except BaseException as error:
        writer.on_exception(trainer, model, error)
        raise


def some_run(root: Path) -> None:
    write_run(root, 1)
    about = json.loads((root / "run/clips.json").read_text())
    about["clips"]["b"] = about["clips"]["a"]
    (root / "run/clips.json").write_text(json.dumps(about, indent=1))
    for name in ("gt", "pred"):
        video.write_frames(root / f"run/{name}/a", frames(1))
        video.write_frames(root / f"run/{name}/b", frames(2))


def report(root: Path, version: int) -> None:
    from egowm.commands.report import main

    run(main, root / "run", "--max_clips", str(version))


def cache_latents(root: Path) -> None:
    from egowm.training.latents.writer import LatentWriter

    writer = LatentWriter(tiny_backbone(beside(root) / "base"), nwm(root, 0.5))
    writer.write(root / "latents", progress=False)


def read_latents(root: Path) -> Any:
    from egowm.training.latents.cache import LatentCache

    if not (root / "latents/cache.json").exists():
        return None
    cache = LatentCache(root / "latents")
    if any(cache.damaged(k, thorough=True) for k in range(cache.num_shards)):
        return None  # refused before training
    return cache.rows("latents", [0]).tolist()


def base_and_drives(root: Path) -> None:
    tiny_backbone(beside(root) / "base")
    trajectories(root)


WRITERS = {
    "frames": Writer(
        lambda root, version: video.write_frames(root / "clip", frames(version)),
        lambda root: video.read_frames(root / "clip").tobytes(),
    ),
    "picture": Writer(
        lambda root, version: video.write_image(root / "a.png", frames(version)[0]),
        lambda root: video.read_image(root / "a.png").tobytes(),
    ),
    "mp4": Writer(
        lambda root, version: video.write_mp4(root / "clip.mp4", frames(version), 4),
        lambda root: content(root / "clip.mp4"),
    ),
    "checkpoint": Writer(write_checkpoint, read_checkpoint),
    "checkpoints of a run": Writer(keep_checkpoints, read_checkpoint),
    "pictures of a run": Writer(show_pictures, files_of),
    "record of a run": Writer(record_run, lambda root: text_of("run.json")(root)["command"]),
    "action spec": Writer(describe_actions, text_of("spec.json")),
    "cache of tracks": Writer(cache_tracks, files_of),
    "run of clips": Writer(write_run, read_run),
    "scores": Writer(of_scs, text_of("scs.json")),
    "sheet": Writer(draw_sheet, files_of),
    "checksums of a pack": Writer(write_sums, read_sums),
    "shard of latents": Writer(write_shard, read_shard),
    "room": Writer(draw_room, files_of),
    "export of a model": Writer(export_model, of_folder("export"), lambda r: tiny_model(beside(r))),
    "pipeline for diffusers": Writer(
        save_pipeline, of_folder("pipeline"), lambda r: tiny_model(beside(r))
    ),
    "prior": Writer(save_prior, of_folder("prior"), lambda root: tiny_backbone(beside(root))),
    "VAE": Writer(save_vae, of_folder("vae")),
    "pack": Writer(once(pack), read_pack, trajectories),
    "latent cache": Writer(once(cache_latents), read_latents, base_and_drives),
    "label index": Writer(keep_labels, read_labels, silent=True),
    "score": Writer(score, files_of, clips),
    "compare": Writer(compare, text_of("compared.json"), two_scores),
    "annotate": Writer(once(annotate), of_folder("drawn"), clips),
    "track": Writer(track, of_folder("tracked"), clips),
    "export as DAVIS": Writer(export_davis, of_folder("davis"), clips),
    "demo of SCS": Writer(once(demo_of_scs), of_folder("demo")),
    "convert-sam2 to a file": Writer(once(convert_sam2("a.pt")), files_of, tiny_sam2),
    "convert-sam2 to a folder": Writer(once(convert_sam2("a")), of_folder("a"), tiny_sam2),
    "copy of a recipe": Writer(once(copy_recipe), files_of),
    "data convert": Writer(convert_drive, of_folder("drives")),
    "recordings": Writer(record, of_folder("1x")),
    "rollout": Writer(roll_out, of_folder("walk")),
    "plan": Writer(plan_ways, of_folder("plan")),
    "share of a launch": Writer(once(fill_a_share), of_rooms),
    "predictions that are kept": Writer(keep_predictions, read_predictions),
    "imagined episodes": Writer(imagine, of_folder("dreams")),
    "pack for a bucket": Writer(once(pack_for_a_bucket), read_from_a_bucket, trajectories),
    "recording for rerun": Writer(record_for_rerun, read_by_rerun),
    "eval": Writer(evaluate("eval"), of_folder("run")),
    "demo": Writer(evaluate("demo"), of_folder("run", besides="training/")),
    "predict": Writer(predict, of_folder("run")),
    "report": Writer(report, files_of, some_run),
}
