"""What each call on a lent GPU does, in which order, at full size or at a toy one."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from benchmarks.measure import ROOT, Record, read

START = 30.0  # seconds of a training's limit that go to its beginning and its last checkpoint
FASTER = 1.1  # clips a second, times: a larger batch that gains less does not pay
HIGHEST_RATE = 1.2e-3  # the highest that was searched
EGOWM, CHORES = "egowm.commands.main", "benchmarks.lent_gpu.chores"
LONG = "benchmarks/experiment/long_training.yaml"
BACKBONE = "model.init_args.backbone.init_args"
COUNTED = {"episodes_train": 2000, "episodes_val": 32, "episodes_test": 64, "num_frames": 64}
TOY: Record = {
    "data.init_args.episodes_train": 2,
    "data.init_args.episodes_val": 1,
    "data.init_args.episodes_test": 1,
    "data.init_args.num_frames": 9,
    "data.init_args.batch_size": 2,
    "data.init_args.window.height": 32,
    "data.init_args.window.width": 32,
    "trainer.val_check_interval": 1,
    "trainer.limit_val_batches": 1,
    "trainer.log_every_n_steps": 1,
}


class Step(NamedTuple):
    """One process. weight: its share of the time that it and the later steps have.

    command: module and arguments, given the seconds until it is ended. brings: what comes home of
    it, by the name it has there. curve: folder of a training whose losses are recorded.
    """

    name: str
    weight: float
    command: Callable[[float], list[str]]
    brings: Mapping[str, Path] = MappingProxyType({})
    curve: Path | None = None


@dataclass(frozen=True)
class Lent:
    """Where the calls work, all in one folder, and how large.

    work: rooms, checkpoints and recipes, which stay there. toy: as small as it gets.
    """

    work: Path
    device: str
    toy: bool = False

    @property
    def records(self) -> Path:
        """Of benchmarks."""
        return self.work / "records"

    @property
    def prior(self) -> Path:
        """The one that was trained, or the committed one where there is none."""
        own = self.work / "prior/prior"
        return own if own.is_dir() else ROOT / "priors/rooms-svd"

    def steps(self, call: int) -> list[Step]:
        return {1: self.first, 2: self.second, 3: self.third}[call]()

    def first(self) -> list[Step]:
        """The prior, and the world model from it."""
        weights = {
            f"prior/{part}.safetensors": self.work / "prior/prior" / part
            for part in ("unet/diffusion_pytorch_model", "image_encoder/model")
        }
        found = {home: Path(f"{path}.safetensors") for home, path in weights.items()}
        return [
            Step("imports", 2, lambda _: [CHORES, "imports"]),
            Step("rooms", 25, lambda _: [CHORES, "rooms", str(self.work / "rooms"), self._size]),
            self._probe(10),
            Step("prior", 33, self._prior, found, self.work / "prior"),
            *self._world("world", 50, self._from_prior),
        ]

    def second(self) -> list[Step]:
        """That world model and the one from scratch further, and the transformer's."""
        return [
            *self._world("world", 27, self._from_prior),
            *self._world("scratch", 35, self._from_scratch),
            *self._world("transformer", 27, self._transformer),
        ]

    def third(self) -> list[Step]:
        """The rows of the benchmarks."""
        toy = "--steps 1 --repeats 1"
        few = "--frames 3 --objects 1 --predictions 1 --lengths 3 --repeats 1"
        one = "--only 'conditioning, from' --steps 1 --warmup 1"
        brief = "--scale toy --frames 1 --rounds 1 --most-steps 1"
        sam2 = "scs" if self.toy else "scs{gpu}-tiny"
        return [
            self._row("speed.training", "training{gpu}", 50, "", one),
            self._row("speed.rollout", "rollout{gpu}", 12, "", f"--frames 1 --guidance 1 {toy}"),
            self._row(
                "planning.candidates", "candidates{gpu}", 10, "", f"--timed 1 --frames 1 {toy}"
            ),
            self._row("speed.latency", "latency{gpu}", 12, "--compile --rounds 2", brief),
            self._row("speed.streaming", "streaming{gpu}", 8, "--compile", "--frames 1 --rounds 1"),
            self._row("scs.speed", sam2, 10, "--size tiny", few),
            self._probe(8),
        ]

    # Steps --------------------------------------------------------------------------------------

    def _row(self, name: str, file: str, weight: float, full: str, toy: str) -> Step:
        words = [f"benchmarks.{name}", "--device", self.device, "--results", str(self.records)]
        words += shlex.split(toy if self.toy else full)
        gpu = "-gpu" if self.device == "cuda" else ""
        path = self.records / f"{file.format(gpu=gpu)}.json"
        return Step(name, weight, lambda _: words, {path.name: path})

    def _probe(self, weight: float) -> Step:
        full, toy = (
            "--batches 16 64 256 1024 --rounds 3",
            "--size 32 --batches 1 2 --rounds 1 --calls 1",
        )
        return self._row("speed.rooms_step", "rooms-step{gpu}", weight, full, toy)

    def _world(self, name: str, weight: float, change: Callable[[float], Record]) -> list[Step]:
        """A training, or more of it, and its export."""
        folder, recipe = self.work / name, self.work / f"{name}.yaml"

        def export(seconds: float) -> list[str]:
            checkpoint = str(folder / "checkpoints/last.ckpt")
            words = [EGOWM, "export", "-c", str(recipe), "--ckpt_path", checkpoint]
            return [*words, "--output", str(folder / "export"), "--half", "--force"]

        files = ("weights.safetensors", "world_model.json")
        found = {f"{name}/{file}": folder / "export" / file for file in files}
        source = "recipes/rooms_cosmos.yaml" if name == "transformer" else LONG
        train = Step(name, weight, lambda s: self._fit(name, source, change(s), s), {}, folder)
        return [train, Step(f"{name}, export", 4, export, found)]

    def _fit(self, name: str, source: str, changes: Record, seconds: float) -> list[str]:
        """Train on in the step's folder, with a recipe that is written beside it."""
        recipe = yaml.safe_load((ROOT / source).read_text())
        folder = self.work / name
        logger = {"class_path": "lightning.pytorch.loggers.CSVLogger"}
        common: Record = {
            "data.init_args.root": str(self.work / "rooms"),
            "data.init_args.num_frames": 64,
            "trainer.default_root_dir": str(folder),
            "trainer.logger": logger | {"init_args": {"save_dir": str(folder)}},
            "trainer.enable_progress_bar": False,
        }
        if self.toy:  # a second call goes on by a step
            more = (folder / "checkpoints/last.ckpt").exists()
            changes = changes | TOY | {"trainer.max_steps": 1 + more}
        for path, value in (common | changes).items():
            _put(recipe, path.split("."), value)
        (self.work / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        words = [EGOWM, "fit", "-c", str(self.work / f"{name}.yaml"), "--ckpt_path", "last"]
        words += ["--guard_patience", "0", "--pictures_every", "0"]
        minutes, rest = divmod(round(max(10.0, seconds - START)), 60)
        return [*words, "--trainer.max_time", f"00:00:{minutes:02d}:{rest:02d}"]

    # What recipes change ------------------------------------------------------------------------

    def _prior(self, seconds: float) -> list[str]:
        clips, step = self.batch()
        changes = {
            f"{BACKBONE}.vae_folder": "",
            f"{BACKBONE}.memo_frames": 300_000,
            "model.init_args.learning_rate": rate(6e-4, clips),
            "data.init_args.episodes_train": 4000,
            "data.init_args.batch_size": max(4, clips // 4),  # videos of four frames and a context
            "trainer.max_steps": max(1, round((seconds - START) / (1.5 * step))),
        }
        return self._fit("prior", "recipes/pretrain_rooms_svd.yaml", changes, seconds)

    def _from_prior(self, seconds: float) -> Record:
        clips, _ = self.batch()
        return {
            f"{BACKBONE}.pretrained": str(self.prior),
            f"{BACKBONE}.memo_frames": 150_000,
            "model.init_args.start": None,
            "model.init_args.learning_rate": rate(3e-4, clips),
            "data.init_args.episodes_train": 2000,
            "data.init_args.batch_size": clips,
            "trainer.max_steps": 10_000_000,  # its rate never falls by itself
        }

    def _from_scratch(self, seconds: float) -> Record:
        start = {"random": ["unet"], "start": "egowm.pretraining.copy_of_context"}
        return self._from_prior(seconds) | {f"{BACKBONE}.{k}": v for k, v in start.items()}

    def _transformer(self, seconds: float) -> Record:
        clips, step = self.batch()
        return {
            f"{BACKBONE}.memo_frames": 150_000,
            "data.init_args.episodes_train": 2000,
            "data.init_args.batch_size": max(4, clips // 4),
            "trainer.max_steps": max(1, round((seconds - START) / (3 * step))),
        }

    def batch(self) -> tuple[int, float]:
        """Clips of a batch, the largest that pays, and seconds of a step; guessed if unknown."""
        found = sorted(self.records.glob("rooms-step*.json"))
        record = read(found[-1]) if found else None
        rows = [r for r in (record or {"rows": []})["rows"] if r["name"] == "all of these"]
        return largest_that_pays(rows) if rows else (64, 0.1)

    @property
    def _size(self) -> str:
        counts = {n: TOY[f"data.init_args.{n}"] for n in COUNTED} if self.toy else COUNTED
        return json.dumps(counts)


def rate(base: float, clips: int) -> float:
    """A learning rate for 16 clips, raised by the root of how many more there are."""
    return float(min(HIGHEST_RATE, base * (clips / 16) ** 0.5))


def largest_that_pays(rows: Sequence[Record]) -> tuple[int, float]:
    """Clips and seconds of the last row before one that is hardly faster than the row before."""
    chosen, *larger = sorted(rows, key=lambda row: row["clips"])
    for row in larger:
        if row["clips"] / row["seconds"] < FASTER * chosen["clips"] / chosen["seconds"]:
            break
        chosen = row
    return chosen["clips"], chosen["seconds"]


def _put(tree: Any, path: Sequence[str], value: object) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
