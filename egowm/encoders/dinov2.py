"""DINOv2: views of a picture, some with hidden patches, are told apart by prototypes as the teacher
tells them apart."""

import math
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from egowm.checks import check_between, checked
from egowm.encoder import Encoder, PatchFeatures, standardised
from egowm.encoders.base import MOST, EncoderModule, follow
from egowm.encoders.layer_decay import layer_groups
from egowm.encoders.prototypes import Centre, Head, koleo, patch_loss, sinkhorn, view_loss
from egowm.encoders.views import MultiCrop, Views
from egowm.network.optimizer import scheduled
from egowm.network.sharding import shard_network

TEACHER, WARMING = (0.04, 0.07), 0.3  # temperatures, and the share of all steps between them
FIXED = "guide."  # weights of a teacher from a folder, which are in no checkpoint


class DINOv2(EncoderModule):
    """An image encoder by self-distillation (DINOv2, arXiv 2304.07193).

    A teacher sees two large crops of each picture, the student these with hidden patches, and small
    crops. Heads score features against prototypes. `L = L_DINO + ibot L_iBOT + koleo L_KoLeo`: the
    student's cls scores follow the teacher's of another crop, its hidden patches' scores follow the
    teacher's of the same patches, and the cls features of different pictures are kept apart (summed
    over the two large crops). On `transformers.Dinov2Model`.

    Args:
        targets: How the teacher's scores become targets: "sinkhorn", or "centring" as in DINO.
        teacher: Folder of a larger frozen encoder in transformers' format, which teaches in place
            of the moving average (section 5): its features are compared with the prototypes as they
            are, no patch is hidden, and L_iBOT is of all patches. The student's moving average is
            still what is exported. None trains without such a folder.
        prototypes: Of each of the two heads; the paper has 65,536 to 131,072.
        hidden: Channels of the heads' hidden layers.
        bottleneck: Channels that are compared with the prototypes; a teacher from a folder brings
            its own.
        ibot: Weight of L_iBOT, 0 or more; at 0 no patch is hidden.
        koleo: Weight of L_KoLeo, 0 or more.
        crop: Smallest share of a frame's area in a large crop, and largest one in a small crop, in
            (0, 1].
        local_crop: Smallest share in a small crop, in (0, crop].
        local_crops: Small crops of each frame, 0 or more.
        local_size: H and W of the small crops, a multiple of `patch`.
        photometric: Mirror, recolour, blur and grey some crops.
        size: H and W of frames and large crops, a multiple of `patch`.
        patch: H and W of a patch in pixels.
        width: Channels of the transformer, a multiple of `heads`.
        layers: Its layers.
        heads: Its attention heads.
        drop_path: Share of the pictures for which a layer is left out in training, in [0, 1); the
            paper's large networks have 0.3.
        momentum: Share of itself that the teacher keeps in the first step, in [0, 1]; it rises to 1
            by a cosine.
        learning_rate: Highest learning rate, reached after the warm-up. The paper's grows with the
            root of the batch size.
        layer_decay: Factor of the learning rate from one layer to the one before, in (0, 1].
        warmup: Optimizer steps of linear warm-up, 0 or more.
        weight_decay: AdamW's in the first step.
        last_weight_decay: In the last step; it goes there by a cosine.

    Raises:
        ValueError: Sizes that do not fit each other, or a share out of its range.
        FileNotFoundError: In `configure_model`, a file of the teacher's folder that is missing.

    >>> sizes = {"size": 16, "patch": 4, "width": 8, "layers": 1, "heads": 2, "local_size": 8}
    >>> model = DINOv2(**sizes, prototypes=16)
    >>> model.configure_model()
    >>> model.encoder().encode(torch.zeros(1, 3, 16, 16)).patches.shape
    torch.Size([1, 4, 4, 8])
    """

    @checked
    def __init__(
        self,
        targets: Literal["sinkhorn", "centring"] = "sinkhorn",
        teacher: str | None = None,
        prototypes: int = 1024,
        hidden: int = 256,
        bottleneck: int = 64,
        ibot: float = 1.0,
        koleo: float = 0.1,
        crop: float = 0.32,
        local_crop: float = 0.05,
        local_crops: int = 8,
        local_size: int = 32,
        photometric: bool = True,
        size: int = 64,
        patch: int = 8,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        drop_path: float = 0.0,
        momentum: float = 0.992,
        learning_rate: float = 1e-3,
        layer_decay: float = 0.9,
        warmup: int = 100,
        weight_decay: float = 0.04,
        last_weight_decay: float = 0.4,
    ) -> None:
        super().__init__(
            size, patch, width, layers, heads, 1.0, momentum, learning_rate, warmup, weight_decay
        )
        self.views = MultiCrop(size, patch, crop, local_crop, local_crops, local_size, photometric)
        check_between("drop_path", drop_path, 0.0, 0.99)
        if teacher is not None and drop_path:
            raise ValueError("A teacher from a folder is learned without drop_path: set it to 0.")
        for name, value in {"ibot": ibot, "koleo": koleo, "decay": last_weight_decay}.items():
            check_between(name, value, 0.0, 1e6)
        check_between("prototypes", prototypes, 1, 1_000_000)  # 131,072 in the paper
        check_between("hidden", hidden, 1, MOST)
        check_between("bottleneck", bottleneck, 1, MOST)
        check_between("layer_decay", layer_decay, 0.01, 1.0)
        self.targets, self.folder = targets, teacher
        self.prototypes, self.hidden, self.bottleneck = prototypes, hidden, bottleneck
        self.ibot, self.koleo = ibot, koleo
        self.drop_path, self.layer_decay = drop_path, layer_decay
        self.last_weight_decay = last_weight_decay

    # Networks -------------------------------------------------------------------------------------

    def network(self) -> nn.Module:
        from transformers import Dinov2Config, Dinov2Model

        config = Dinov2Config(
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            image_size=self.size,
            patch_size=self.patch,
            drop_path_rate=self.drop_path,
        )
        return Dinov2Model(config)  # type: ignore[no-any-return]

    def build(self) -> None:
        """The student's heads, the teacher's, and a frozen teacher where a folder is given."""
        bottleneck = self.bottleneck
        if self.folder is not None:
            found = Encoder.from_pretrained(self.folder)
            side = self.size // self.patch  # of as many patches as the student's
            self.guide = Encoder(found.network, side * found.patch, found.mean, found.std)
            bottleneck = found.width
        kinds = ("cls", "patch") if self.ibot else ("cls",)
        shape = self.width, self.hidden, bottleneck, self.prototypes
        self.scores = nn.ModuleDict({kind: Head(*shape) for kind in kinds})
        self.teacher_scores = deepcopy(self.scores).requires_grad_(False)
        if self.targets == "centring":
            self.centres = nn.ModuleDict({kind: Centre(self.prototypes) for kind in kinds})

    def configure_model(self) -> None:
        new = not hasattr(self, "student")
        super().configure_model()
        if new and self.device_mesh is not None:  # a strategy that shards
            for network in (self.student, self.teacher):
                blocks: Any = network.encoder
                shard_network(network, blocks.layer, self.device_mesh)
            for head in (*self.scores.values(), *self.teacher_scores.values()):
                shard_network(head, (), self.device_mesh)

    def teach(self, momentum: float) -> None:
        super().teach(momentum)
        follow(self.teacher_scores, self.scores, momentum)

    def keeps(self, done: float) -> float:
        return cosine(self.momentum, 1.0, done)

    # Losses ---------------------------------------------------------------------------------------

    def losses(
        self, frames: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(self.views(frames, self.hides, generator))

    @property
    def hides(self) -> bool:
        """Whether patches are hidden from the student."""
        return self.ibot > 0 and self.folder is None

    def loss(self, views: Views) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss and its parts, each before its weight."""
        masks = views.masks.flatten(0, 1)
        student: Any = self.student
        seen = standardised(views.whole.flatten(0, 1))
        hidden = student(seen, bool_masked_pos=masks).last_hidden_state
        cls = hidden[:, 0].unflatten(0, (2, -1))
        told = masks if self.folder is None else torch.ones_like(masks)  # patches of L_iBOT
        taught = self.taught(views.whole, told)
        scores = self.scores["cls"](torch.cat([cls, self.local_features(views.local)]))
        logs = {"dino": view_loss(taught["cls"].unflatten(0, (2, -1)), scores)}
        total = logs["dino"]
        if self.ibot:
            made = self.scores["patch"](hidden[:, 1:][told])
            logs["ibot"] = patch_loss(taught["patch"], made, told)
            total = total + self.ibot * logs["ibot"]
        if self.koleo:
            logs["koleo"] = koleo(cls[0]) + koleo(cls[1])
            total = total + self.koleo * logs["koleo"]
        return total, {name: value.detach() for name, value in logs.items()}

    def local_features(self, local: Tensor) -> Tensor:
        """The student's cls features (L, M, D) of small crops (L, M, 3, h, w)."""
        if not len(local):
            return local.new_zeros(*local.shape[:2], self.width)
        student: Any = self.student
        hidden = student(standardised(local.flatten(0, 1))).last_hidden_state
        return hidden[:, 0].unflatten(0, local.shape[:2])  # type: ignore[no-any-return]

    @torch.no_grad()
    def taught(self, whole: Tensor, told: Tensor) -> dict[str, Tensor]:
        """The teacher's targets: "cls" (2M, K) of large crops (2, M, 3, H, W), and "patch" (P, K)
        of the patches that `told` (2M, N) marks in them."""
        frozen = self.folder is not None
        encoder = self.guide if frozen else self.encoder()
        features: PatchFeatures = encoder.encode(whole.flatten(0, 1))
        parts = {"cls": features.cls, "patch": features.patches.flatten(1, 2)[told]}
        scores = {k: head(parts[k], not frozen) for k, head in self.teacher_scores.items()}
        if self.targets == "centring":
            return {k: self.centres[k](scores[k], self.temperature) for k in scores}
        return {k: sinkhorn(scores[k], self.temperature) for k in scores}

    @property
    def temperature(self) -> float:
        """By which the teacher's scores are divided, 0.04 in the first step and 0.07 after 0.3 of
        all steps."""
        first, last = TEACHER
        return first + (last - first) * min(1.0, self.progress / WARMING)

    # Optimizer and checkpoints --------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        parts = layer_groups(self.named_parameters(), self.layers, self.layer_decay)
        optimizer = torch.optim.AdamW(parts, lr=self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        return scheduled(optimizer, self.warmup, steps)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        decay = cosine(self.weight_decay, self.last_weight_decay, self.progress)
        for group in self.trainer.optimizers[0].param_groups:
            group["weight_decay"] = decay if group["decays"] else 0.0
        super().optimizer_step(*args, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith(FIXED)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.configure_model()
        own = self.state_dict().items()
        checkpoint["state_dict"] |= {k: v for k, v in own if k.startswith(FIXED)}
        super().on_load_checkpoint(checkpoint)


def cosine(first: float, last: float, done: float) -> float:
    """From the first value to the last by half a cosine, at a share of the way in [0, 1]."""
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
