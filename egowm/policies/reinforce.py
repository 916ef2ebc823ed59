"""A policy that learns inside a world model by REINFORCE: UniSim's use of one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from egowm.actions import ActionSpec
from egowm.checks import check_between, checked, counted
from egowm.clip import Clip
from egowm.latent import from_pretrained as open_world
from egowm.pixels import to_unit
from egowm.policies.behaviour_cloning import BehaviourCloning
from egowm.policies.goal_policy import STOP_AT, Decision, GoalPolicy
from egowm.sampling import Chain, Sampling

if TYPE_CHECKING:
    from egowm.dynamics import Dynamics

SIMULATOR = "simulator"  # in place of a world model, where clips are of the embedded rooms


@dataclass
class ImaginedEpisodes:
    """N imagined episodes of T steps, (N, T) each: log-likelihoods and entropies of the actions,
    rewards, and the squared error of the policy's own number of steps that are left."""

    likelihoods: Tensor
    entropies: Tensor
    rewards: Tensor
    miscounts: Tensor


class Reinforce(GoalPolicy):
    """A policy that starts from behaviour cloning and improves inside a world model (UniSim, arXiv
    2310.06114, section 4.3).

    Each clip's first frame is where a robot stands, a later one is its goal. In `samples` futures
    the policy acts in the world model; the reward of a step is by how much fewer steps the clone
    sees to be left in the imagined frame (in units of the clip's length). The baseline of a future
    is the mean return of the others of its clip. The policy goes on counting steps as the clone
    does.

    Args:
        world: Export of a world model that makes frames; "simulator" is the true one, of rooms.
        start: Export of `BehaviourCloning`: the policy to begin with, and the judge.
        samples: Futures of each clip, at least 2.
        steps: Steps of an imagined episode; null takes the clip's. Of a world that makes n frames
            at once, a step is n times the same action.
        sampling_steps: Of the world model; null takes its own.
        chain: As in `Sampling`; "latents_only" is faster where a model takes it.
        discount: Of later rewards, in [0, 1].
        entropy: Weight of the entropy of the policy's actions.
        size: H and W of the frames, as of the clone.
        depth: Taken from the clone; an export keeps it.
        units: The same.
        stop_at: It stops where fewer steps are left; 0 never stops, null takes the clone's.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        spec: Meaning of each action; null takes it from the data.

    >>> policy = Reinforce("rooms", "runs/clone", samples=2)
    >>> rewards = torch.tensor([[0.0, 1.0], [0.0, 0.0]])  # two futures of one clip
    >>> policy.advantages(rewards)[0] > 0
    tensor([True, True])
    >>> policy.samples
    2
    """

    @checked
    def __init__(
        self,
        world: str,
        start: str,
        samples: int = 4,
        steps: int | None = None,
        sampling_steps: int | None = 1,
        chain: Chain | None = None,
        discount: float = 0.95,
        entropy: float = 0.003,
        size: int = 64,
        depth: int = 16,
        units: int = 256,
        stop_at: float | None = None,
        learning_rate: float = 1e-4,
        warmup: int = 10,
        spec: ActionSpec | None = None,
    ) -> None:
        super().__init__(
            depth, units, STOP_AT if stop_at is None else stop_at, size, learning_rate, warmup, spec
        )
        self.stops_as_clone = stop_at is None
        check_between("samples", samples, 2, 10_000)
        check_between("steps", 1 if steps is None else steps, 1, 10_000)
        check_between("discount", discount, 0, 1)
        check_between("entropy", entropy, 0, 1e3)
        self.world, self.start, self.samples, self.steps = world, start, samples, steps
        self.sampling_steps, self.chain = sampling_steps, chain
        self.discount, self.entropy = discount, entropy

    # The world and the judge ----------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            self.use(self._opened_world(), BehaviourCloning.from_pretrained(self.start))

    def use(self, world: "Dynamics", clone: BehaviourCloning) -> None:
        """Learn in this world, starting from this clone, which stays the judge.

        Args:
            world: Of the same actions; makes frames and embeds no state.
            clone: Of the same size and actions.
        """
        spec = self.spec_of(None)
        for other in (world, clone):
            spec.compare(other.spec_of(None))
        if not world.makes_frames or world.state_spec is not None:
            raise ValueError(
                f"{world.name} makes no frames, or embeds a state that an imagined robot does not "
                f"know: give another --model.world."
            )
        world.check_size(self.size, self.size)
        clone.check_size(self.size, self.size)
        self.depth, self.units = clone.depth, clone.units
        if self.stops_as_clone:
            self.stop_at = clone.stop_at
        self._outside = (world, clone.requires_grad_(False).eval())  # not parts of this module

    def configure_model(self) -> None:
        fresh = not hasattr(self, "built")
        super().configure_model()
        if fresh and hasattr(self, "built") and hasattr(self, "_outside"):
            self.load_state_dict(self._outside[1].state_dict())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["egowm"] |= {"depth": self.depth, "units": self.units}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("egowm", {})
        self.depth, self.units = saved.get("depth", self.depth), saved.get("units", self.units)
        super().on_load_checkpoint(checkpoint)

    def _opened_world(self) -> "Dynamics":
        if self.world != SIMULATOR:
            return open_world(self.world)
        from egowm.data.rooms import Rooms
        from egowm.evaluation.simulator import Simulator

        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, Rooms):
            raise ValueError("world: simulator takes clips of egowm.data.Rooms.")
        return Simulator(data)

    def _parts(self) -> tuple["Dynamics", BehaviourCloning]:
        if not hasattr(self, "_outside"):
            raise ValueError("Expected a world and a clone: fit it by a recipe, or call use().")
        for part in self._outside:
            if isinstance(part, nn.Module) and part.device != self.device:
                part.to(self.device)
        return self._outside

    # Imagined episodes ----------------------------------------------------------------------------

    def losses(
        self, clip: Clip, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        made = self.imagine(clip, generator)
        advantages = self.advantages(made.rewards)
        loss = -(advantages * made.likelihoods).mean() - self.entropy * made.entropies.mean()
        loss = loss + made.miscounts.mean()
        logs = {"progress": made.rewards.sum(1).mean(), "entropy": made.entropies.detach().mean()}
        return loss, logs

    def advantages(self, rewards: Tensor) -> Tensor:
        """Discounted returns (N, T) less the mean of the clip's other futures, over their spread.

        Args:
            rewards: (N, T); the futures of a clip follow each other, `samples` of each.
        """
        returns, later = [], torch.zeros_like(rewards[:, 0])
        for reward in reversed(rewards.unbind(1)):
            later = reward + self.discount * later
            returns.append(later)
        found = torch.stack(returns[::-1], 1).unflatten(0, (-1, self.samples))
        others = (found.sum(1, keepdim=True) - found) / (self.samples - 1)
        differences = (found - others).flatten(0, 1)
        return differences / differences.std().clamp(min=1e-6)

    def imagine(self, clip: Clip, generator: torch.Generator | None) -> ImaginedEpisodes:
        """`samples` episodes from each clip's start, each towards a later frame of the clip.

        Args:
            clip: The batch.
            generator: Of goals, actions and noise; None draws from torch's own.
        """
        world, judge = self._parts()
        source, horizon = self.source_of(clip), clip.actions.shape[1]
        seed = int(torch.randint(2**31, (1,), generator=generator))
        drawn = torch.Generator().manual_seed(seed)
        context, goals = self._tasks(clip, world.num_context, drawn)
        spec, how = self.spec_of(source), Sampling(self.sampling_steps, chain=self.chain)
        stepper = world.stepper_of(_repeated(clip, self.samples), how, drawn)
        state, seen = stepper.begin(context), context[:, -1].to(self.device)
        left, kept = judge.decide(seen, goals).steps, []
        for _ in range(self.steps or horizon):
            found, action = self._drawn(seen, goals, drawn)
            told = spec.denormalise(action.clamp(-1, 1))[:, None].to(world.device)
            state, made = stepper.advance(
                state, told.expand(-1, world.frames_at_once, -1), None, [""]
            )
            seen, before = made.frames[:, -1].to(self.device).float(), left
            left = judge.decide(seen, goals).steps
            progress, miscount = (before - left) / horizon, (found.steps - before) / horizon
            likelihood = self.log_likelihood(found.actions, action)
            entropy = found.actions.entropy()[:, self.moving()].sum(1)
            kept.append((likelihood, entropy, progress, miscount.square()))
        return ImaginedEpisodes(*(torch.stack(part, 1) for part in zip(*kept, strict=True)))

    def _drawn(
        self, seen: Tensor, goals: Tensor, generator: torch.Generator
    ) -> tuple[Decision, Tensor]:
        """What it decides, and normalised actions (N, A) that are drawn of it."""
        found = self.decide(seen, goals)
        mean, std = found.actions.mean, found.actions.stddev
        noise = torch.randn(mean.shape, generator=generator).to(self.device)
        return found, (mean + std * noise).detach()

    def _tasks(
        self, clip: Clip, num_context: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Contexts (N, K, 3, H, W) and goals (N, 3, H, W), N = samples * B."""
        count, horizon = clip.actions.shape[:2]
        frames = to_unit(clip.frames[:, -horizon - num_context :]).to(self.device)
        if frames.shape[1] < horizon + num_context:
            raise ValueError(
                f"The world looks at {counted(num_context, 'frame')}, the clips give "
                f"{frames.shape[1] - horizon}: set --data.window.context {num_context}."
            )
        ahead = torch.randint((horizon + 3) // 4, horizon + 1, (count,), generator=generator)
        goals = frames[torch.arange(count), num_context - 1 + ahead]
        contexts = frames[:, :num_context].repeat_interleave(self.samples, 0)
        return contexts, goals.repeat_interleave(self.samples, 0)


def _repeated(clip: Clip, times: int) -> Clip:
    """Each clip of a batch so many times, one after the other."""

    def again(values: Any) -> Any:
        if isinstance(values, Tensor):
            return values.repeat_interleave(times, 0) if len(values) else values
        return [value for value in values for _ in range(times)]

    return Clip(*(again(values) for values in clip[:-1]))
