"""Trains and scores every arm of the central experiment: does a passive prior help to obey?

    python -m benchmarks.experiment.arms --jobs 2   # a day on 2 cores; takes a GPU if any
    python -m benchmarks.experiment.arms --trainer.accelerator cuda   # as `egowm fit`

P: the prior, fine-tuned with actions. P0: the same without actions. S: the same network from
scratch with actions, as many steps. S+: from scratch, for the prior's compute on top, at the
prior's learning rate. P+: the prior, fine-tuned for as many steps as S+. S++: from scratch, for
as many steps as the prior and P+ have together. VAE, image encoder, sampler and data are the same.
W, the model that ships: P+ trained on by `long_training.py`, on more episodes and where a one-step
sampler asks. The baseline, NWM's CDiT, is an S of its own family: as many steps and episodes, at
its recipe's learning rate. The learning rate of an arm is the one of three with the lowest
validation loss at 64 episodes. Each run leaves `runs/arms/RUN/` (export, log) and
`benchmarks/results/arms/RUN.json` (what it was, its curves, its rows): a run whose record is there
is not repeated, and one that was stopped goes on from its last checkpoint, so this can be stopped
and started. `benchmarks/experiment/rooms.py` makes the table.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.measure import RESULTS, ROOT, Record, provenance, write
from egowm.shipped import default_model

BEGAN = "began.json"  # in the folder of a run: at which commit its training began
RUNS, RECORDS = ROOT / "runs/arms", RESULTS / "arms"
RATES = (3e-4, 6e-4, 1.2e-3)
LONG_RATE = 6e-4  # of the committed P+ and S+: that of recipes/pretrain_rooms_svd.yaml
STEPS = 800  # of every short run, 16 frames each
TRANSFORMER_RATE, TRANSFORMER_STEPS = 1e-3, 3000  # of every run of a transformer, also 16 frames
BASELINE, BASELINE_RATE = "cdit", 6e-4  # NWM's network, which has no prior
PRIOR_STEPS = 12750  # as many frames as the prior's pretraining saw
LABELLED, SEEDS = (16, 64, 256), (3, 4, 5)  # the first seed is that of the recipes
MAIN = 64  # episodes of the runs that are told wrong actions, too
LONG = {"P+": 1, "S+": 1, "S++": 2}  # how often `PRIOR_STEPS` come on top
EXPORTS = {  # that travel with the repository
    "W": default_model(),
    "P+": ROOT / "benchmarks/exports/from-the-prior-long",
    "S+": ROOT / "benchmarks/exports/from-scratch-long",
}
EARLIER = ROOT / "benchmarks/exports/rooms-33550-steps"  # shipped before W, which goes on from it
SHIPPED_EPISODES = 1024  # that W was trained on
SEARCHED = ("P+", "S+", "P", "S")  # arms whose learning rate is searched
TOLD = ("true", "shuffled", "zero", "mirrored")
EXTRA: list[str] = []  # options for every `egowm fit`, for instance of the trainer
RESUME = ("--ckpt_path", "last", "--save_every", "500", "--pictures_every", "0")


@dataclass(frozen=True)
class Arm:
    """One training run. variant: what an ablation changes. family: of the prior."""

    arm: str
    episodes: int
    seed: int
    rate: float
    variant: str = ""
    family: str = "svd"

    @property
    def name(self) -> str:
        """Of its folder."""
        parts = [self.arm, str(self.episodes), f"seed{self.seed}", f"{self.rate:g}", self.variant]
        parts += [self.family if self.family != "svd" else ""]
        return "-".join(part for part in parts if part)

    @property
    def prior(self) -> Path:
        """What it starts from, or takes its sizes and VAE from."""
        return ROOT / f"priors/rooms-{'svd' if self.family == BASELINE else self.family}"

    @property
    def folder(self) -> Path:
        """Where it trains, and leaves its export."""
        return RUNS / self.name

    @property
    def record(self) -> Path:
        """What is kept of it."""
        return RECORDS / f"{self.name}.json"

    @property
    def options(self) -> list[str]:
        """The command line of its training, after `egowm`."""
        has_prior = self.family != BASELINE
        recipe = f"rooms_{self.family}"
        recipe += "_scratch" if has_prior and self.arm.startswith("S") else ""
        short = TRANSFORMER_STEPS if self.family == "cosmos" else STEPS
        steps = short + PRIOR_STEPS * LONG.get(self.arm, 0)
        options = [
            "fit", "-c", f"recipes/{recipe}.yaml",
            "--seed_everything", str(self.seed),
            "--data.seed", str(1000 * (self.seed - SEEDS[0])),
            "--data.episodes_train", str(self.episodes),
            "--model.learning_rate", str(self.rate),
            "--trainer.max_steps", str(steps),
            "--trainer.val_check_interval", str(max(1, steps // 2)),
            "--trainer.default_root_dir", str(self.folder.relative_to(ROOT)),
            "--trainer.logger", "lightning.pytorch.loggers.CSVLogger",
            "--trainer.logger.save_dir", str(self.folder.relative_to(ROOT)),
            "--trainer.enable_progress_bar", "false",
        ]  # fmt: skip
        if self.arm == "P0":
            options += ["--data.actions", "none"]
        return [*options, *VARIANTS[self.variant], *EXTRA]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which actions it is told when it is scored; `rooms.py` tells the committed exports, P+
        and S+, all of them."""
        if self.arm == "P0":
            return ("zero",)
        if self.family != "svd":
            return ("true", "shuffled")
        if self.episodes != MAIN or self.variant:
            return ("true",)
        return TOLD if self.seed == SEEDS[0] and self.arm not in LONG else TOLD[:2]


def labelled(arm: str) -> int:
    """The episodes of an arm's main run."""
    return SHIPPED_EPISODES if arm == "W" else MAIN


VARIANTS: dict[str, tuple[str, ...]] = {
    "": (),
    "sinusoidal": ("--model.features", "sinusoidal"),
    "linear": ("--model.features", "linear"),
    "default-start": ("--model.zero_init", "false"),
    "high-noise": ("--model.backbone.process_mean", "2.5", "--model.backbone.process_std", "1.2"),
    "both-streams": ("--model.backbone.streams", "both"),  # of a transformer
}
CHOICES = ("sinusoidal", "linear", "default-start", "high-noise")  # the variants of the UNet
GUIDANCES = (1.5, 2.0, 4.0)  # on the action, of the transformer


def run(arm: Arm) -> None:
    """Train, export and score one run in processes of their own, unless its record is there."""
    if arm.record.is_file():
        check_base(arm)
        return
    arm.folder.mkdir(parents=True, exist_ok=True)
    if not (arm.folder / "checkpoints/last.ckpt").is_file():  # it starts, or starts anew
        now = provenance(arm.seed, "cpu")  # scoring says its own: a commit may come in between
        write(arm.folder / BEGAN, {key: now[key] for key in ("commit", "dirty", "date")})
    egowm = str(Path(sys.executable).parent / "egowm")
    _call(arm, [egowm, *arm.options, *RESUME])
    (config,) = sorted(arm.folder.glob("lightning_logs/version_*/config.yaml"))[-1:]
    checkpoint = arm.folder / "checkpoints/last.ckpt"
    export = ["export", "-c", str(config), "--ckpt_path", str(checkpoint), "--half", "--force"]
    _call(arm, [egowm, *export, "--output", str(arm.folder / "export")])
    script = [sys.executable, "-m", "benchmarks.experiment.arms"]
    _call(arm, [*script, "--score", json.dumps(asdict(arm))])
    print(f"{arm.name}: validation loss {validation_loss(known(arm)):.4f}", flush=True)


def _call(arm: Arm, command: Sequence[str]) -> None:
    with (arm.folder / "log.txt").open("a") as log:
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=True)


def check_base(arm: Arm) -> None:
    """Refuse the record of a run that started from another prior."""
    from egowm.backbones.base import weights_sha256

    found, expected = known(arm)["weights"][arm.prior.name], weights_sha256(arm.prior)
    if found != expected:
        raise ValueError(
            f"{arm.record} belongs to another prior: expected {expected[:12]}..., found "
            f"{found[:12]}.... Delete benchmarks/results/arms and runs/arms to train every run "
            f"anew."
        )


def score(arm: Arm) -> None:
    """Roll out the test rooms and write the record of this run: its log and its rows."""
    from benchmarks.experiment.action_following import followed
    from benchmarks.experiment.room_clips import unseen_clips
    from egowm.sampling import Sampling
    from egowm.world_model import WorldModel

    clips, model = unseen_clips(), WorldModel.from_pretrained(arm.folder / "export")
    about = {"arm": arm.arm, "episodes": arm.episodes, "seed": arm.seed, "world": "rooms"}
    about |= {"learning_rate": arm.rate, "variant": arm.variant, "family": arm.family}
    main = arm.arm == "P" and not arm.variant
    told: list[tuple[str, Sampling, Record]] = [(kind, Sampling(), {}) for kind in arm.kinds]
    for guidance in GUIDANCES if main and model.drop_action else ():
        how = Sampling(guidance=guidance, guide_on="action")
        told += [(kind, how, {"guidance": guidance}) for kind in arm.kinds]
    rows = []
    for kind, how, extra in told:
        videos = clips.imagined(model, kind, how)
        extra = extra | {"following": followed(clips, kind, videos)} if kind == "true" else extra
        found = clips.score(videos)
        rows.append(found.row(about | {"actions": "none" if arm.arm == "P0" else kind} | extra))
    if main and arm.family != "svd":
        ceiling = {"arm": "truth through the VAE", "actions": "", "episodes": None}
        rows.append(clips.score(clips.coded(model)).row(about) | ceiling)
    exported = json.loads((arm.folder / "export/world_model.json").read_text())
    record = provenance(arm.seed) | {
        "weights": {arm.prior.name: exported["base_sha256"]},
        "began": json.loads((arm.folder / BEGAN).read_text()),
        "run": arm.name,
        "training": "egowm " + " ".join(arm.options),
        "loss": curve(arm, "train/loss"),
        "validation_loss": curve(arm, "val/loss"),
        "rows": rows,
    }
    write(arm.record, record)


def curve(arm: Arm, column: str, points: int = 12) -> list[tuple[int, float]]:
    """(step, value) from the run's logs, one for each time that it was started, thinned."""
    found: dict[int, float] = {}
    for path in sorted(arm.folder.glob("lightning_logs/*/metrics.csv"), key=os.path.getmtime):
        lines = csv.DictReader(path.read_text().splitlines())
        found |= {int(r["step"]): float(r[column]) for r in lines if r.get(column)}
    rows = sorted(found.items())
    thin = rows[:: max(1, len(rows) // points)]
    return [*thin, rows[-1]] if thin[-1] != rows[-1] else thin


# What is known of runs --------------------------------------------------------------------------


def known(arm: Arm) -> Record:
    """The record of a run that has ended."""
    record: Record = json.loads(arm.record.read_text())
    return record


def trained() -> list[Record]:
    """The records of all of them."""
    return [json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))]


def validation_loss(record: Record) -> float:
    """The last one of a run."""
    return float(record["validation_loss"][-1][1])


def learning_rates(runs: Sequence[Record]) -> tuple[dict[str, float], list[Record]]:
    """The best rate of each arm by validation loss at 64 episodes, and all that were tried."""
    search = []
    for run in runs:
        r = run["rows"][0]
        about = r["arm"], r["episodes"], r["seed"], r["variant"], r.get("family", "svd")
        if r["arm"] in SEARCHED and about[1:] == (MAIN, SEEDS[0], "", "svd"):
            found = {"arm": r["arm"], "learning_rate": r["learning_rate"]}
            search.append(found | {"loss": validation_loss(run), "run": run["run"]})
    ordered = sorted(search, key=lambda r: r["loss"], reverse=True)
    best = {r["arm"]: r["learning_rate"] for r in ordered}  # the lowest comes last
    same = {"P0": "P", "S++": "S+"}
    best |= {arm: best[other] for arm, other in same.items() if other in best}
    return best, sorted(search, key=lambda r: (r["arm"], r["learning_rate"]))


def at_its_rate(r: Record, rates: dict[str, float]) -> bool:
    """Whether a row is of its arm's learning rate, which rows of committed exports do not say."""
    rate = r.get("learning_rate", LONG_RATE if r["arm"] in LONG else None)
    return rate in (None, rates.get(r["arm"]))


# All runs ---------------------------------------------------------------------------------------


def searches() -> list[Arm]:
    """The runs that decide the learning rates; the long ones, which take as long as sixteen
    others, start first."""
    return [Arm(arm, MAIN, SEEDS[0], rate) for arm in SEARCHED for rate in RATES]


def grid() -> list[Arm]:
    """The other runs, once the learning rates are known."""
    best = learning_rates(trained())[0]
    chosen = [Arm(arm, MAIN, SEEDS[0], best[arm]) for arm in SEARCHED]
    runs = [Arm("S++", MAIN, SEEDS[0], best["S++"])]
    runs += [replace(arm, seed=seed) for arm in chosen for seed in SEEDS[1:]]
    runs += [replace(arm, episodes=n) for arm in chosen for n in LABELLED if n != MAIN]
    p = Arm("P", MAIN, SEEDS[0], best["P"])
    return [*runs, replace(p, arm="P0"), *(replace(p, variant=variant) for variant in CHOICES)]


def transformers() -> list[Arm]:
    """The same protocol for a diffusion transformer, at 64 episodes, where its prior is there."""
    p = Arm("P", MAIN, SEEDS[0], TRANSFORMER_RATE, family="cosmos")
    if not (p.prior / "transformer/diffusion_pytorch_model.safetensors").is_file():
        return []
    return [p, replace(p, arm="S"), replace(p, variant="both-streams")]


def baselines() -> list[Arm]:
    """The custom model at equal steps and episodes."""
    return [Arm("S", MAIN, SEEDS[0], BASELINE_RATE, family=BASELINE)]


def main(argv: Sequence[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, one thread each")
    parser.add_argument("--score", help=argparse.SUPPRESS)
    args, extra = parser.parse_known_args(argv)
    EXTRA.extend(extra)
    if args.score:
        score(Arm(**json.loads(args.score)))
        return 0
    if args.jobs > 1:
        os.environ["OMP_NUM_THREADS"] = "1"
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(run, searches()))
        list(pool.map(run, grid() + transformers() + baselines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
