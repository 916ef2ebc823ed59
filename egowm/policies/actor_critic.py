"""DreamerV2's losses of actor and critic, from trajectories that a world model imagines."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from egowm.latent.rssm import RSSM, Belief
from egowm.policies.actor import Actor
from egowm.policies.returns import lambda_returns, spread


class ImaginedTrajectories(NamedTuple):
    """Futures of N states over T steps.

    features: (N, T+1, D), the first of what was seen. chosen: actions (N, T, A) before the bound,
    or their numbers (N, T).
    """

    features: Tensor
    chosen: Tensor


class ActorCritic(NamedTuple):
    """What learns in imagination (DreamerV2, arXiv 2010.02193, section 2.2).

    world: with reward and end. critic: of states with features (..., D), (..., 1). slow_critic: an
    earlier one, whose values the returns take.
    """

    world: RSSM
    actor: Actor
    critic: nn.Module
    slow_critic: nn.Module

    def imagined(self, start: Tensor, horizon: int) -> ImaginedTrajectories:
        """Steps from states with features (N, D); with gradients through the dynamics where the
        actor's actions have them."""
        width = self.world.deterministic
        belief = Belief(*start.split([width, start.shape[1] - width], -1))
        seen, chosen = [start], []
        with torch.set_grad_enabled(not self.actor.is_table):
            for _ in range(horizon):
                chosen.append(self.actor.chosen(seen[-1].detach(), None))
                belief = self.world.step(belief, self.actor.actions(chosen[-1]), None)
                seen.append(torch.cat(belief, -1))
        return ImaginedTrajectories(torch.stack(seen, 1), torch.stack(chosen, 1))

    def losses(
        self, made: ImaginedTrajectories, discount: float, lambda_: float, entropy: float
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Those of actor and critic, and logs."""
        after, before = made.features[:, 1:], made.features[:, :-1].detach()
        with torch.set_grad_enabled(not self.actor.is_table):
            rewards = self.world.reward_head(after)[..., 0]
            goes_on = self.world.goes_on_head(after)[..., 0].sigmoid()
            values = self.slow_critic(after)[..., 0]
            returns = lambda_returns(rewards, goes_on, values, discount, lambda_)
        ahead = (discount * goes_on[:, :-1]).cumprod(1).detach()
        weights = torch.cat([torch.ones_like(ahead[:, :1]), ahead], 1)
        nats = self.actor.entropies(before, made.chosen)
        gain = self._reinforced(before, made.chosen, returns) if self.actor.is_table else returns
        actor = -(weights * (gain / spread(returns) + entropy * nats)).mean()
        error = self.critic(before)[..., 0] - returns.detach()
        critic = 0.5 * (weights * error.square()).mean()
        logs = {"return": returns.mean(), "reward": rewards.mean(), "entropy": nats.mean()}
        return actor, critic, logs | {"actor": actor, "critic": critic}

    def _reinforced(self, before: Tensor, chosen: Tensor, returns: Tensor) -> Tensor:
        """What has the gradient of REINFORCE, with the slow critic as the baseline."""
        better = (returns - self.slow_critic(before)[..., 0]).detach()
        return self.actor.log_chances(before, chosen) * better
