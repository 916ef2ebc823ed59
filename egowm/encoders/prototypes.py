"""Prototypes: scores of features against them, balanced targets, and the losses between both."""

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from egowm.checks import check_between, check_shape

STUDENT = 0.1  # temperature
KEPT, CLOSEST = 0.9, 1e-8


class Head(nn.Module):
    """Cosines of projected features with each prototype (DINO, arXiv 2104.14294).

    Args:
        width: Channels D of the features.
        hidden: Channels of the two hidden layers of the projection.
        bottleneck: Channels of what is compared with the prototypes.
        prototypes: Their number K.
    """

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))

    def forward(self, features: Tensor, project: bool = True) -> Tensor:
        """Scores (..., K) in [-1, 1] of features (..., D).

        Args:
            features: (..., D); without projection, (..., bottleneck).
            project: False compares the features as they are.
        """
        projected = self.layers(features) if project else features
        return F.linear(F.normalize(projected, dim=-1), F.normalize(self.prototypes, dim=-1))


# Targets ------------------------------------------------------------------------------------------


@torch.no_grad()
def sinkhorn(scores: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Shares of prototypes (N, K) in which all prototypes are used alike, by Sinkhorn-Knopp (SwAV,
    arXiv 2006.09882, appendix A.1), over the samples of all processes.

    Args:
        scores: (N, K).
        temperature: By which scores are divided, above 0; a lower one gives sharper shares.
        iterations: In each, every prototype and then every sample is scaled to sum to 1.

    >>> sinkhorn(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 0.1)  # two alike: half and half
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    check_shape("scores", scores, "N K")
    check_between("iterations", iterations, 1, 1000)
    logs = scores.float() / temperature
    for _ in range(iterations):
        logs = logs - _log_total(logs)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp()


def _log_total(logs: Tensor) -> Tensor:
    """Logarithm of the sum over the samples of all processes, (K,)."""
    most = _over_processes(logs.amax(0), distributed.ReduceOp.MAX)
    return most + _over_processes((logs - most).exp().sum(0), distributed.ReduceOp.SUM).log()


def _over_processes(value: Tensor, operation: distributed.ReduceOp.RedOpType) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(value, operation)
    return value


class Centre(nn.Module):
    """Shares of prototypes by a softmax of scores less their moving mean (DINO, equation 4).

    Args:
        prototypes: Their number K.
    """

    def __init__(self, prototypes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(prototypes))
        self.mean: Tensor

    @torch.no_grad()
    def forward(self, scores: Tensor, temperature: float) -> Tensor:
        """Shares (N, K) of scores (N, K); in training, the mean then moves towards theirs.

        Args:
            scores: (N, K).
            temperature: By which centred scores are divided, above 0.
        """
        scores = scores.float()
        shares = ((scores - self.mean) / temperature).softmax(1)
        if self.training:
            total = torch.cat([scores.sum(0), scores.new_tensor([len(scores)])])
            total = _over_processes(total, distributed.ReduceOp.SUM)
            self.mean.mul_(KEPT).add_(total[:-1] / total[-1], alpha=1 - KEPT)
        return shares


# Losses -------------------------------------------------------------------------------------------


def view_loss(targets: Tensor, scores: Tensor) -> Tensor:
    """Mean cross-entropy between each teacher's view of a picture and each other view of the
    student's (DINO, equation 3).

    Args:
        targets: (2, M, K), the teacher's shares of two views of M pictures.
        scores: (V, M, K), the student's; the first two are of the same views, which are not
            compared with themselves.
    """
    logs = (scores.float() / STUDENT).log_softmax(-1)
    pairs = -torch.einsum("tmk,vmk->tv", targets, logs) / targets.shape[1]
    return pairs[~torch.eye(*pairs.shape, dtype=torch.bool, device=pairs.device)].mean()


def patch_loss(targets: Tensor, scores: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of hidden patches, averaged within each picture, then over all pictures, those
    without a hidden patch counted as 0 (iBOT, arXiv 2111.07832, equation 2).

    Args:
        targets: (P, K), the teacher's shares of the hidden patches, picture by picture.
        scores: (P, K), the student's.
        masks: (M, N) bool, the P hidden ones of N patches of M pictures.
    """
    errors = -(targets * (scores.float() / STUDENT).log_softmax(-1)).sum(-1)
    weights = (1 / masks.sum(1, keepdim=True).clamp(min=1)).expand(masks.shape)[masks]
    return (errors * weights).sum() / len(masks)


def koleo(features: Tensor) -> Tensor:
    """Minus the mean logarithm of the distance from each feature to its nearest neighbour, all of
    length 1 (KoLeo, arXiv 1806.03198, equation 2): low where features spread evenly.

    Args:
        features: (M, D), M at least 2.

    >>> round(koleo(torch.eye(3)).item(), 4)  # all at the distance of the root of 2
    -0.3466
    """
    if len(features) < 2:
        raise ValueError(
            f"KoLeo compares at least 2 frames, got {len(features)}: raise the batch size, or set "
            f"--model.koleo 0."
        )
    unit = F.normalize(features.float(), dim=1)
    with torch.no_grad():
        nearest = (unit @ unit.T).fill_diagonal_(-2).argmax(1)
    apart: Tensor = nn.PairwiseDistance(eps=CLOSEST)(unit, unit[nearest])
    return -(apart + CLOSEST).log().mean()
