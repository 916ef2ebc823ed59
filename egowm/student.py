"""Students: world models of few sampling steps, by consistency along a noise path.

A student's estimate is the same all along the path that its teacher follows from noise to frames
(Song et al. 2023, arXiv 2303.01469), so that one step is enough and more steps mend it. It learns
from two points of a path, the lower one of which is made by one Euler step of the teacher, or, in
tuning, from the recorded clip itself. That step is one of the teacher's own sampling, or shrinks by
halves while the student trains, as in "Consistency Models Made Easy" (Geng et al. 2024, arXiv
2406.14548), without that paper's factor for low levels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from egowm import export
from egowm.actions import ActionSpec
from egowm.augmentation import Augmentation
from egowm.backbones.base import Backbone
from egowm.checks import check_between, checked, counted
from egowm.checksums import sum_of
from egowm.clip import Clip
from egowm.conditioning.guidance import Guide, guided
from egowm.diffusion import Ancestral, Process, euler, expand, pseudo_huber, randn
from egowm.network.compilation import Compiler
from egowm.network.optimizer import Optimizer
from egowm.network.trained_part import ATTENTION, Train
from egowm.own_contexts import OwnContexts
from egowm.randomness import derived_seed
from egowm.sampler import dropped_by, null_branch
from egowm.sampling import Sampling
from egowm.world_model import Task, WorldModel

Estimate = Callable[[Tensor, Tensor], Tensor]  # (noisy (B, ...), sigma (B,)) -> clean (B, ...)
SMALLEST = 0.002  # level below which noisy latents count as clean: every estimate is the identity


def gap_at(progress: float, stages: int, first: float) -> float:
    """The distance of the two levels, as a share of the upper one: halved at equal intervals.

    progress: share of the training that is done, in [0, 1]. first: the distance of the first stage,
    in (0, 1]; 1 leads to the end of the path.
    """
    return first * 0.5 ** min(stages - 1, math.floor(progress * stages))


def step_down(noisy: Tensor, clean: Tensor, sigma: Tensor, lower: Tensor) -> Tensor:
    """One Euler step along the path through `noisy` whose end is estimated as `clean`, (B, ...)."""
    slope = (noisy - clean) / expand(sigma, noisy)
    return noisy + expand(lower - sigma, noisy) * slope


def consistency_loss(
    process: Process,
    student: Estimate,
    clean: Tensor,
    noisy: Tensor,
    sigma: Tensor,
    lower: Tensor,
    huber: float,
    given: int = 0,
) -> Tensor:
    """How far a student's estimate at two points of a path differs, (B,): pseudo-Huber of the root
    mean square, as the network's output has it (weight 1 there at every level).

    The lower point's estimate is the target and has no gradient.

    Args:
        process: Of the noise.
        student: The estimate that is learned.
        clean: (B, t, ...), where the path through `noisy` ends, by the teacher or by the recording.
        noisy: (B, t, ...) at `sigma`.
        sigma: (B,), the upper level.
        lower: (B,), the lower level; where it is not below the upper one the path has ended, and
            `clean` is the target.
        huber: Constant c of sqrt(x^2 + c^2) - c, above 0.
        given: Latent frames at the start that the network knows and that do not count.
    """
    with torch.no_grad():
        target, learned = clean, lower < sigma
        if learned.any():
            estimate = student(step_down(noisy, clean, sigma, lower), lower)
            target = torch.where(expand(learned, clean) > 0, estimate.to(clean), clean)
    apart = (student(noisy, sigma) - target)[:, given:].square().flatten(1).mean(1)
    return pseudo_huber(process.weight(sigma) * apart, huber)


class Student(WorldModel):
    """A world model that learns to make in few sampling steps what its teacher makes in many.

    Its export is one of a `WorldModel` with its number of steps. With a teacher it distils:
    it starts as the teacher and learns from one step of the teacher's at a time. Without one it is
    tuned: the same with the recorded frames in the teacher's place.

    Args:
        backbone: As the teacher's; its training noise decides at which levels the student learns.
        teacher: Export of the world model that is distilled, or the short name of a shipped one
            ("rooms"); null tunes without a teacher.
        start: Export that tuning starts from; null starts from the backbone's own weights.
        guidance: Scale of the teacher's guidance, which the student learns to do without: as in
            `Sampling`. 1 is none.
        guide_on: What the teacher's null branch goes without, as in `Sampling`.
        regression: For comparison: learn the teacher's whole rollouts of single chunks from their
            noise, which are made once for each clip and stored, in place of consistency.
        teacher_steps: Sampling steps of the teacher, in these rollouts, and to the lowest level of
            which a path leads; null takes its own.
        stages: How many distances of two levels follow each other, at least 1: 1/2 of the upper
            level, or 1 in tuning, and each time half of it. Null follows the teacher's own sampling
            instead: from each level to the next that its steps visit.
        huber: Constant of the pseudo-Huber loss, above 0, in units of the network's output.
        visited: Share of the samples, in [0, 1], that learn at a level which sampling in `steps`
            steps visits, or at the path's end; the others at one of the backbone's training noise.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        steps: Sampling steps that it is made for.
        chunk: As in `WorldModel`, and as the teacher's.
        spec: Meaning of each action; null takes the teacher's.
        state_spec: Meaning of the body's initial state, taken together with `spec`.
        train, lora_rank, lora_targets: The part that is trained, as in `WorldModel`.
        gradient_checkpointing, optimizer, offload, compile, augmentation: As in `WorldModel`.
        own_contexts: Start some batches from frames that the student imagined, as the later chunks
            of a rollout do; null starts all from recorded frames. Tuning should start as the model
            was trained that it begins with.

    Raises:
        ValueError: Numbers out of range, and what is a teacher's without one.

    >>> from egowm.backbones import SVD
    >>> student = Student(SVD("./priors/rooms-svd", predicts="changes"), teacher="rooms", steps=2)
    >>> student.configure_model()
    >>> student.spec.width, student.gap
    (3, 0.5)
    """

    @checked
    def __init__(
        self,
        backbone: Backbone,
        teacher: str | None = None,
        start: str | None = None,
        guidance: float = 1.0,
        guide_on: Guide | Sequence[Guide] | None = None,
        regression: bool = False,
        teacher_steps: int | None = None,
        stages: int | None = 4,
        huber: float = 0.03,
        visited: float = 0.5,
        learning_rate: float = 2e-4,
        warmup: int = 100,
        steps: int = 2,
        chunk: int = 8,
        spec: ActionSpec | None = None,
        state_spec: ActionSpec | None = None,
        train: Train = "full",
        lora_rank: int = 16,
        lora_targets: Sequence[str] = ATTENTION,
        gradient_checkpointing: bool = False,
        optimizer: Optimizer = "adamw",
        offload: bool = False,
        compile: Compiler | None = None,
        own_contexts: OwnContexts | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(
            backbone,
            learning_rate=learning_rate,
            warmup=warmup,
            drop_image=0.0,
            drop_text=0.0,
            steps=steps,
            chunk=chunk,
            spec=spec,
            state_spec=state_spec,
            train=train,
            lora_rank=lora_rank,
            lora_targets=lora_targets,
            gradient_checkpointing=gradient_checkpointing,
            optimizer=optimizer,
            offload=offload,
            compile=compile,
            own_contexts=own_contexts,
            augmentation=augmentation,
        )
        if stages is not None:
            check_between("stages", stages, 1, 20)
        check_between("huber", huber, 1e-9, 1e3)
        check_between("visited", visited, 0, 1)
        if teacher is None and (
            guidance != 1
            or guide_on is not None
            or teacher_steps is not None
            or regression
            or stages is None
        ):
            raise ValueError(
                "guidance, guide_on, teacher_steps, regression and stages=null are a teacher's: "
                "give --model.teacher EXPORT, or leave them out."
            )
        if teacher is not None and start is not None:
            raise ValueError("A student with a teacher starts as the teacher: leave start out.")
        if regression and (own_contexts is not None or augmentation is not None):
            raise ValueError(
                "Stored rollouts start from recorded clips as they are: leave own_contexts and "
                "augmentation out with regression."
            )
        self.teacher, self.regression = teacher, regression
        self._begins_as = teacher or start  # opened by `_open`, in place of `WorldModel.start`
        self.guiding = Sampling(teacher_steps, guidance, guide_on)
        dropped_by(backbone, self.guiding)  # refuses what it cannot be guided on
        self.stages, self.consistency_huber, self.visited = stages, huber, visited
        self._opened: tuple[WorldModel, ...] = ()  # the teacher or start, no part of this module
        self._stored: dict[str, Tensor] = {}
        self._start_sha256: str | None = None

    # Teacher and start ----------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        self._open()
        super().setup(stage)
        if stage == "fit" and self._opened and self.chunk != self._opened[0].chunk:
            frames = counted(self._opened[0].chunk, "future frame")
            raise ValueError(
                f"Expected chunks of {frames}, as the teacher makes them, got {self.chunk}: set "
                f"--data.window.horizon (times 1 + deepest with own contexts)."
            )

    def _open(self) -> None:
        """Load what it starts from, once, and take over what the actions mean to it."""
        name = self._begins_as
        if name is None or self._opened:
            return
        folder = export.find(Path(name))
        base = getattr(self.backbone, "pretrained", None)  # may lie elsewhere than for the teacher
        opened = WorldModel.from_pretrained(folder, base)
        if type(opened.backbone) is not type(self.backbone):
            raise ValueError(
                f"{name} has the backbone {opened.name}, the student {self.name}: give a recipe "
                f"with the teacher's backbone."
            )
        if opened.backbone.predicts != self.backbone.predicts:
            raise ValueError(
                f"The network of {name} predicts {opened.backbone.predicts}, the student's "
                f"{self.backbone.predicts}: set --model.backbone.predicts "
                f"{opened.backbone.predicts}."
            )
        if self.spec is None:
            self.spec, self.state_spec, self.specs = opened.spec, opened.state_spec, opened.specs
        theirs = opened.spec_of(None)
        assert self.spec is not None  # the teacher has one
        theirs.compare(self.spec)
        if self.teacher is not None and replace(theirs, rate_hz=self.spec.rate_hz) != self.spec:
            raise ValueError(
                f"Expected the ranges of actions of {name}, which is told the student's normalised "
                f"ones: leave --model.spec out."
            )
        if (self.state_spec is None) != (opened.state_spec is None):
            raise ValueError(f"Expected the body's state in both or neither of {name} and student.")
        self.features, self.alignment = opened.features, opened.alignment
        self._opened = (opened.requires_grad_(False).eval(),)
        self._start_sha256 = sum_of(folder / export.WEIGHTS)

    def configure_model(self) -> None:
        if self.device_mesh is not None:
            raise ValueError(
                "A student is trained whole in every process: give --trainer.strategy ddp in place "
                "of sharded."
            )
        self._open()
        fresh = not hasattr(self.backbone, "network")
        self.backbone.load()
        if fresh and self._opened:  # before a LoRA comes upon the weights
            self.backbone.network.load_state_dict(self._opened[0].backbone.network.state_dict())
        ready = hasattr(self, "action_embedding")
        super().configure_model()
        if not ready and hasattr(self, "action_embedding") and self._opened:
            for part in ("action_embedding", "state_embedding"):
                if hasattr(self, part):
                    getattr(self, part).load_state_dict(getattr(self._opened[0], part).state_dict())

    def on_fit_start(self) -> None:
        super().on_fit_start()
        for model in self._opened:  # its encoders stay where they are: the student's encode
            parts = [
                model.backbone.network,
                *(m for n, m in model.named_children() if n != "backbone"),
            ]
            for part in parts:
                part.to(self.device)
            if hasattr(model, "null_embedding"):
                model.null_embedding = nn.Parameter(model.null_embedding.to(self.device), False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["egowm"]["start_sha256"] = self._start_sha256

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._open()
        saved = checkpoint.get("egowm", {}).get("start_sha256", self._start_sha256)
        fitting = self._trainer is not None and self.trainer.state.fn == "fit"
        if saved != self._start_sha256 and (fitting or self.part.how != "full"):
            raise ValueError(
                "The checkpoint is of a student of another teacher or start: give the export that "
                "its training began with, --model.teacher EXPORT or --model.start EXPORT."
            )
        super().on_load_checkpoint(checkpoint)

    # The loss -------------------------------------------------------------------------------------

    @property
    def gap(self) -> float:
        """The distance of the two levels at this step, as a share of the upper one."""
        first = 0.5 if self.teacher is not None else 1.0  # to the end, which recordings teach
        if self._trainer is None:
            return first
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        return gap_at(self.global_step / steps, self.stages or 1, first)

    @checked
    def loss(
        self, clip: Clip, generator: torch.Generator | None = None, level: float | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The consistency of a batch of clips; scalar loss and logs.

        Args:
            clip, generator: As in `WorldModel.loss`.
            level: One noise level above 0, at which the plain denoising loss is computed instead.
        """
        if level is not None:
            return super().loss(clip, generator, level)
        clip.check()
        task = self.task(clip, generator)
        student = self._estimate(task)
        given = self.backbone.context_latents
        if self.regression:
            return self._regressed(task, clip, student).mean(), {}
        sigma = self._levels(task, generator)
        noise = randn(task.latents.shape, generator, task.latents.device)
        noisy, clean = task.process.add(task.latents, noise, sigma), task.latents
        if self.teacher is not None:
            clean = self._teachers(task)(noisy, sigma)
        lower = self._lower(task.process, sigma)
        each = consistency_loss(
            task.process, student, clean, noisy, sigma, lower, self.consistency_huber, given
        )
        return each.mean(), {} if self.stages is None else {"gap": torch.tensor(self.gap)}

    def _levels(self, task: Task, generator: torch.Generator | None) -> Tensor:
        """Upper levels (B,): some of those that sampling and the path's targets visit, the others
        of the training noise. Targets that training noise never draws would drift."""
        process, count, device = task.process, len(task.latents), task.latents.device
        path = self._path(process)
        own, targets = process.sigmas(self.steps), path if self.stages is None else path[-1:]
        ladder = torch.cat([own[own > SMALLEST], targets]).unique().to(device)
        drawn = process.draw(count, device, generator).clamp(SMALLEST, float(ladder[-1]))
        chosen = ladder[torch.randint(len(ladder), (count,), generator=generator).to(device)]
        visits = torch.rand(count, generator=generator).to(device) < self.visited
        return torch.where(visits, chosen.to(drawn), drawn)

    def _path(self, process: Process) -> Tensor:
        """The levels above 0 that the teacher's sampling visits, downwards. The path ends at the
        last: what is estimated there is the frame. Below it nobody samples, so a student that had
        to agree with itself down to no noise at all would agree on anything."""
        teacher = self._opened[0].steps if self.teacher is not None else self.steps
        visited = process.sigmas(max(2, self.guiding.steps or teacher, self.steps))
        return visited[visited > 0].clamp(min=SMALLEST)

    def _lower(self, process: Process, sigma: Tensor) -> Tensor:
        """The lower levels (B,), down to the end of the path."""
        path = self._path(process).to(sigma)
        if self.stages is not None:
            return (sigma * (1 - self.gap)).clamp(min=float(path[-1]))
        return torch.where(path < sigma[:, None], path, 0).amax(1).clamp(min=float(path[-1]))

    def _estimate(self, task: Task) -> Estimate:
        """The student's clean latents."""
        embedding = self.embed(task.actions, task.state)

        def estimate(noisy: Tensor, sigma: Tensor) -> Tensor:
            self.sigma = sigma.detach()
            with self.backbone.injecting(embedding):
                return _clean(task.process, self.backbone(noisy, sigma, task.condition))

        return estimate

    def _teachers(self, task: Task) -> Estimate:
        """The teacher's clean latents, guided where that is asked, without gradient."""
        teacher = self._opened[0]
        backbone, null = teacher.backbone, dropped_by(teacher.backbone, self.guiding)
        with torch.no_grad():
            embedding, condition = teacher.embed(task.actions, task.state), task.condition
            if null:
                without, bare = null_branch(
                    teacher, null, condition, task.actions, task.state, embedding
                )
                condition, embedding = without.stack(condition), torch.cat([bare, embedding])

        @torch.no_grad()
        def estimate(noisy: Tensor, sigma: Tensor) -> Tensor:
            with backbone.injecting(embedding):
                if not null:
                    return _clean(task.process, backbone(noisy, sigma, condition))
                both = backbone(torch.cat([noisy, noisy]), torch.cat([sigma, sigma]), condition)
            plain, full = _clean(task.process, both).chunk(2)
            return guided(plain, full, self.guiding.guidance)

        return estimate

    def _regressed(self, task: Task, clip: Clip, student: Estimate) -> Tensor:
        """The control: how far one step is from the end of a stored rollout, (B,)."""
        teacher, size = self._opened[0], (clip.frames.shape[-2], clip.frames.shape[-1])
        process = teacher.backbone.process_for(task.latents.shape[1], size)
        sigmas = process.sigmas(self.guiding.steps or teacher.steps)
        names = [f"{s}/{n}" for s, n in zip(clip.source, clip.name, strict=True)]
        noise = torch.stack([_noise_of(name, task.latents[0]) for name in names])
        start = process.initial(noise, float(sigmas[0]))
        if not all(name in self._stored for name in names):
            ends = euler(self._teachers(task), start, sigmas).cpu()
            self._stored |= dict(zip(names, ends, strict=True))
        ends = torch.stack([self._stored[name] for name in names]).to(start)
        level = torch.full((len(start),), float(sigmas[0]), device=start.device)
        given = self.backbone.context_latents
        return consistency_loss(
            process, student, ends, start, level, level, self.consistency_huber, given
        )

    def validation_step(self, clip: Clip, batch_idx: int) -> None:
        """The error of the first sampling step, which is comparable all through the training."""
        generator = torch.Generator().manual_seed(batch_idx)
        level = float(self.backbone.process.sigmas(self.steps)[0])
        found = self.loss(clip, generator, level)[0]
        self.log("val/loss", found, batch_size=len(clip.frames), prog_bar=True)

    test_step = validation_step


def _clean(process: Process, made: Tensor) -> Tensor:
    """The clean latents of an estimate, without a spread."""
    return process.split(made)[0] if isinstance(process, Ancestral) else made


def _noise_of(name: str, like: Tensor) -> Tensor:
    """Noise that a clip has in every epoch."""
    seed = derived_seed(0, *name.encode())
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like)
