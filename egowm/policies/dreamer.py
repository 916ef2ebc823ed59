"""DreamerV2's actor and critic in imagination, with which DayDreamer's robots learn."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egowm.action_module import ActionModule
from egowm.actions import ActionSpec
from egowm.checks import check_alike, check_between, check_shape, check_whole, checked
from egowm.clip import Clip
from egowm.diffusion import Generator
from egowm.latent.rssm import RSSM, Belief, Signals
from egowm.module_export import POLICY
from egowm.pixels import check_unit
from egowm.policies.actor import Actor, layers
from egowm.policies.actor_critic import ActorCritic
from egowm.policies.replay import Experience

EPS = 1e-6  # of Adam


class Memory(NamedTuple):
    """What N robots remember: their beliefs, and their last normalised actions (N, A)."""

    belief: Belief
    action: Tensor | None


class Dreamer(ActionModule):
    """A policy that learns in the imagination of a world model, which learns from a replay buffer
    (DreamerV2, arXiv 2010.02193; DayDreamer, arXiv 2206.14176).

    The world model is an `egowm.latent.RSSM` with reward and end. From every state that it has seen
    it imagines `horizon` steps; the critic learns the lambda-returns, the actor what raises them:
    through the gradient of the dynamics, or by REINFORCE where `choices` are given. The task is
    that of the rewards: pictures of goals are not looked at.

    Args:
        deterministic: Width of the GRU's state.
        categoricals: Groups of the stochastic state.
        classes: Classes of each.
        depth: Channels of the encoder's first layer.
        units: Width of the layers between.
        size: H and W of the frames, 8 times a power of two.
        kl_weight: Of the KL term beside the reconstruction, which is summed over pixels.
        signal_weight: Of the losses of reward and end beside it.
        horizon: Steps that are imagined.
        starts: States of a batch that are imagined from, drawn anew; null for all.
        discount: Of rewards a step later, in [0, 1].
        lambda_: Of the returns, in [0, 1].
        entropy: Weight of the actor's entropy, in nats, beside returns that are divided by their
            spread.
        target_every: Steps after which the slow critic becomes the critic.
        choices: Rows of physical units, one per action that can be chosen; null for any action
            within the spec's range.
        learning_rate: Of the world model.
        actor_rate: Of the actor.
        critic_rate: Of the critic.
        clip_norm: The most that the gradient's norm is, of world model, actor and critic each.
        spec: Meaning of each action; null takes it from the data.

    >>> spec = ActionSpec(("turn",), ("rad",), "body", "difference", 4.0, (-1.0,), (1.0,))
    >>> small = {"deterministic": 16, "categoricals": 4, "classes": 4, "depth": 2, "units": 16}
    >>> model = Dreamer(**small, size=8, spec=spec)
    >>> model.configure_model()
    >>> memory, actions = model.act(model.begin(torch.zeros(2, 3, 8, 8)), torch.zeros(2, 3, 8, 8))
    >>> actions.shape
    torch.Size([2, 1])
    """

    export_file = POLICY
    automatic_optimization = False

    @checked
    def __init__(
        self,
        deterministic: int = 128,
        categoricals: int = 16,
        classes: int = 16,
        depth: int = 16,
        units: int = 128,
        size: int = 32,
        kl_weight: float = 0.1,
        signal_weight: float = 10.0,
        horizon: int = 15,
        starts: int | None = None,
        discount: float = 0.95,
        lambda_: float = 0.95,
        entropy: float = 1e-3,
        target_every: int = 100,
        choices: Sequence[Sequence[float]] | None = None,
        learning_rate: float = 6e-4,
        actor_rate: float = 1e-4,
        critic_rate: float = 3e-4,
        clip_norm: float = 100.0,
        spec: ActionSpec | None = None,
    ) -> None:
        super().__init__(size, 1, learning_rate, 0, spec)
        check_whole("horizon", horizon, 1, 10_000)
        check_whole("starts", 1 if starts is None else starts, 1, 10**9)
        check_whole("target_every", target_every, 1, 10**9)
        check_between("discount", discount, 0, 1)
        check_between("lambda_", lambda_, 0, 1)
        for name, value in (("signal_weight", signal_weight), ("entropy", entropy)):
            check_between(name, value, 0, 1e9)
        self.deterministic, self.categoricals, self.classes = deterministic, categoricals, classes
        self.depth, self.units, self.kl_weight = depth, units, kl_weight
        self.signal_weight, self.horizon, self.discount = signal_weight, horizon, discount
        self.starts = starts
        self.lambda_, self.entropy, self.target_every = lambda_, entropy, target_every
        self.choices = None if choices is None else [list(map(float, row)) for row in choices]
        self.actor_rate, self.critic_rate, self.clip_norm = actor_rate, critic_rate, clip_norm

    def build(self, width: int) -> None:
        names = ("deterministic", "categoricals", "classes", "depth", "units", "size", "kl_weight")
        told = {name: getattr(self, name) for name in names}
        self.world = RSSM(**told, reward=True, goes_on=True, spec=self.spec_of(None))
        self.world.configure_model()
        features = self.deterministic + self.categoricals * self.classes
        self.actor = Actor(features, self.units, self.spec_of(None), self.choices)
        self.critic = layers(features, self.units, 1)
        self.slow_critic = deepcopy(self.critic).requires_grad_(False)

    def trained_weights(self) -> dict[str, Tensor]:
        return dict(self.state_dict())  # the slow critic is not trained, and needed to go on

    # Learning in imagination ----------------------------------------------------------------------

    def behaviour_losses(self, start: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Losses of actor and critic from states with features (N, D), and logs."""
        if self.starts is not None:
            start = start[torch.randperm(len(start), device=start.device)[: self.starts]]
        learning = ActorCritic(self.world, self.actor, self.critic, self.slow_critic)
        return learning.losses(
            learning.imagined(start.detach(), self.horizon),
            self.discount,
            self.lambda_,
            self.entropy,
        )

    def losses(self, clip: Clip, generator: torch.Generator | None) -> tuple[Tensor, Any]:
        raise ValueError(
            "Dreamer learns from rewards, which recordings do not have: give it a replay buffer, "
            "--data egowm.policies.Replay."
        )

    def world_loss(self, clip: Clip, signals: Signals) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The world model's loss, logs, and features (B, T+1, D)."""
        self.check_clip(clip)
        check_shape("reward", signals.reward, "B T", B=len(clip.actions), T=clip.actions.shape[1])
        check_alike("goes_on", signals.goes_on, "reward", signals.reward)
        total, logs, features = self.world.seen(clip, None)
        told = self.world.told(features[:, 1:], signals)
        return total + self.signal_weight * told, logs | {"signals": told.detach()}, features

    # Training -------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if not isinstance(batch, Experience):
            self.losses(batch, None)
        world, logs, features = self.world_loss(*batch)
        actor, critic, more = self.behaviour_losses(features.flatten(0, 1))
        self._descend({self.world: world, self.actor: actor, self.critic: critic})
        if self.trainer.global_step % self.target_every == 0:
            self.slow_critic.load_state_dict(self.critic.state_dict())
        self.log("train/loss", world.detach(), prog_bar=True)
        self.log_dict({f"train/{name}": x.detach() for name, x in (logs | more).items()})
        return world.detach()

    def _descend(self, losses: dict[nn.Module, Tensor]) -> None:
        """A step of each part on its own loss alone."""
        optimizer: Any = self.optimizers()
        for part, loss in losses.items():
            parameters = list(part.parameters())
            found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            for parameter, gradient in zip(parameters, found, strict=True):
                parameter.grad = gradient
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        optimizer.step()

    def configure_optimizers(self) -> Any:
        """One Adam, whose rate is another one for each of the three parts."""
        rates = ((self.world, self.learning_rate), (self.actor, self.actor_rate))
        groups = [{"params": part.parameters(), "lr": rate} for part, rate in rates]
        groups.append({"params": self.critic.parameters(), "lr": self.critic_rate})
        return torch.optim.Adam(groups, eps=EPS)

    def on_train_start(self) -> None:
        """No schedule: how long a robot drives is not known."""
        if self.trainer.world_size > 1:
            raise ValueError("Dreamer learns on one device: --trainer.devices 1.")

    # Acting ---------------------------------------------------------------------------------------

    def begin(self, goals: Tensor) -> Memory:
        """See `Policy.begin`; of the goals the number alone counts."""
        self.check_built()
        check_shape("goals", goals, "N 3 H W")
        return Memory(self.world.start(len(goals)), None)

    @torch.no_grad()
    def act(
        self, memory: Memory, frames: Tensor, generator: Generator = None
    ) -> tuple[Memory, Tensor]:
        """See `Policy.act`."""
        check_shape("frames", frames, "N 3 H W", N=len(memory.belief.deterministic))
        self.check_size(*frames.shape[2:])
        check_unit("frames", frames)
        state = memory.belief.deterministic
        if memory.action is not None:
            state = self.world.advanced(memory.belief, memory.action)
        logits = self.world.posterior_of(state, self.world.embed(frames.to(state)))
        likely = generator is None
        stochastic = _mode(logits) if likely else self.world.drawn(logits, generator)
        belief = Belief(state, stochastic)
        chosen = self.actor.chosen(torch.cat(belief, 1), generator, likely)
        action = self.actor.actions(chosen)
        return Memory(belief, action), self.spec_of(None).denormalise(action)


def _mode(logits: Tensor) -> Tensor:
    """The likeliest class of each group, (N, G * C)."""
    return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits).flatten(1)
