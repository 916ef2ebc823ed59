"""What SAM 2 does in one frame, for many objects at once, on transformers' modules.

transformers' own session handles one object at a time. N counts tracks: an object in one video.
"""

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

NO_OBJECT = -1024.0  # the logit of every pixel of an object that is not seen
FirstFrame = Literal["meta", "transformers"]


class Features(NamedTuple):
    """Of V images of side S; each object of an image uses the same ones."""

    fine: Tensor  # (V, C / 8, S / 4, S / 4)
    middle: Tensor  # (V, C / 4, S / 8, S / 8)
    coarse: Tensor  # (V, C, S / 16, S / 16)

    def take(self, images: Tensor) -> "Features":
        """Those of `images (N,)`, indices into V."""
        return Features(*(level[images] for level in self))


class Found(NamedTuple):
    """N objects in one frame."""

    logits: Tensor  # (N, S / 4, S / 4)
    pointer: Tensor  # (N, C), what the object is, as one vector
    score: Tensor  # (N,), above 0 where it is seen
    quality: Tensor  # (N,), the IoU of the mask with the true one, as the network expects it


class Network:
    """The steps of SAM 2, batched over tracks.

    first_frame: transformers departs from Meta's code in the prompted frame in two places. Its
    object pointer comes from the best of three masks instead of the single one, and its memory
    from the prompt itself instead of the prompt as a mask of low resolution. "meta" does as Meta.
    """

    def __init__(self, model: Any, first_frame: FirstFrame = "meta") -> None:
        self.model, self.config = model, model.config
        neck = model.vision_encoder.neck
        if not isinstance(neck.position_encoding, _OfOneImage):
            neck.position_encoding = _OfOneImage(neck.position_encoding)
        self.first_frame = first_frame
        self.side: int = model.config.image_size
        parameter = model.no_object_pointer
        self.device, self.dtype = parameter.device, parameter.dtype
        self._sizes = [tuple(size) for size in model.backbone_feature_sizes]
        self._position: Tensor | None = None  # (h * w, 1, C), the same for every image
        self._image_position = model.get_image_wide_positional_embeddings()

    def encode(self, pixels: Tensor) -> Features:
        """Image features of `pixels (V, 3, S, S)`."""
        found = self.model.get_image_features(pixels, return_dict=True)
        if self._position is None:
            self._position = found.fpn_position_encoding[-1]
        maps = zip(found.fpn_hidden_states, self._sizes, strict=True)
        return Features(*(m.permute(1, 2, 0).unflatten(2, size).contiguous() for m, size in maps))

    def prompt(self, features: Features, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Pointer (N, C) and memory (h * w, N, M) of `masks (N, 1, S, S)`, none empty."""
        best = self.first_frame == "transformers"
        small = self.model.mask_downsample(masks)
        found = self._decode(features, features.coarse, small, best_of_three=best)
        logits = masks * 20 - 10
        if self.first_frame == "meta":
            size = self.model.prompt_encoder.mask_input_size
            logits = F.interpolate(
                logits, size, mode="bilinear", align_corners=False, antialias=True
            )
            logits = self._enlarge(logits)
        seen = torch.ones(len(masks), dtype=torch.bool, device=masks.device)
        return found.pointer, self._remember(features, (logits > 0).to(masks.dtype), seen)

    def find(self, features: Features, points: Tensor, labels: Tensor) -> Found:
        """What `points (N, K, 2)`, in pixels of the side S, mark in a picture without memory.

        labels: (N, K) int32, 0 outside, 1 inside, 2 and 3 the corners of a box. A lone point may
        mean a thing or a part of it: of three answers the best is taken.
        """
        coarse = features.coarse + self.model.no_memory_embedding[0, 0, :, None, None]
        several = self._has_several(points.shape[1])
        return self._decode(
            features, coarse, None, best_of_three=several, marks=(points[:, None], labels[:, None])
        )

    def track(
        self, features: Features, memory: Tensor, position: Tensor, num_pointers: int
    ) -> Found:
        """Find N objects; `memory (L, N, M)` ends in `num_pointers` tokens of pointers.

        position: (L, 1, M).
        """
        flat = features.coarse.flatten(2).permute(2, 0, 1)
        assert self._position is not None, "encode an image first"
        attended = self.model.memory_attention(flat, memory, self._position, position, num_pointers)
        coarse = attended.flatten(0, 1).transpose(1, 2).unflatten(2, self._sizes[-1])
        config = self.config
        several = config.multimask_output_for_tracking and self._has_several(0)
        return self._decode(features, coarse, None, best_of_three=several)

    def _has_several(self, num_points: int) -> bool:
        config = self.config
        few = config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num
        return bool(config.multimask_output_in_sam and few)

    def remember(self, features: Features, found: Found) -> Tensor:
        """Memory (h * w, N, M) of what was found."""
        masks = torch.sigmoid(self._enlarge(found.logits[:, None]))
        return self._remember(features, masks, found.score > 0)

    def memory_position(self) -> Tensor:
        """Where in a memory a token is, (h * w, M)."""
        height, width = self._sizes[-1]
        shape = torch.Size([1, self.model.mem_dim, height, width])
        encode = self.model.memory_encoder.position_encoding
        return encode(shape, self.device, self.dtype)[0].flatten(1).T

    def _enlarge(self, logits: Tensor) -> Tensor:
        """`logits (N, 1, S / 4, S / 4)` at the side S."""
        size = (self.side, self.side)
        return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)

    def _remember(self, features: Features, masks: Tensor, seen: Tensor) -> Tensor:
        scaled = masks * self.config.sigmoid_scale_for_mem_enc
        scaled = scaled + self.config.sigmoid_bias_for_mem_enc
        memory, _ = self.model.memory_encoder(features.coarse, scaled)
        hidden = self.model.occlusion_spatial_embedding_parameter
        if hidden is not None:
            memory = memory + (~seen)[:, None, None, None] * hidden[..., None, None]
        return memory.flatten(2).permute(2, 0, 1)

    def _decode(
        self,
        features: Features,
        coarse: Tensor,
        prompt: Tensor | None,
        *,
        best_of_three: bool,
        marks: tuple[Tensor, Tensor] | None = None,
    ) -> Found:
        """Masks of N objects from their own `coarse (N, C, h, w)`; prompt: (N, 1, S / 4, S / 4).

        marks: points (N, 1, K, 2) and their labels (N, 1, K).
        """
        count = len(coarse)
        none = torch.zeros(count, 1, 1, 2, device=self.device, dtype=self.dtype)
        nothing = -torch.ones(count, 1, 1, device=self.device, dtype=torch.int32)
        points, labels = marks or (none, nothing)
        sparse, dense = self.model.prompt_encoder(points, labels, None, prompt)
        masks, quality, tokens, score = self.model.mask_decoder(
            image_embeddings=coarse,
            image_positional_embeddings=self._image_position.expand(count, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=best_of_three,
            high_resolution_features=[features.fine, features.middle],
        )
        masks, quality, tokens = masks[:, 0], quality[:, 0], tokens[:, 0]
        score = score.flatten(1)[:, 0].float()
        rows = torch.arange(count, device=self.device)
        best = quality.argmax(1) if best_of_three else torch.zeros_like(rows)
        seen = score > 0
        pointer = self.model.object_pointer_proj(tokens[rows, best])
        return Found(
            logits=torch.where(seen[:, None, None], masks[rows, best], NO_OBJECT),
            pointer=torch.where(seen[:, None], pointer, self.model.no_object_pointer),
            score=score,
            quality=quality[rows, best],
        )


class _OfOneImage(torch.nn.Module):
    """Positions in one image of a batch: they are alike, as large as the features, and kept."""

    def __init__(self, encoding: Any) -> None:
        super().__init__()
        self.encoding = encoding

    def forward(self, shape: torch.Size, device: torch.device, dtype: torch.dtype) -> Tensor:
        """(1, C, h, w) for a batch (V, C, h, w)."""
        found: Tensor = self.encoding(torch.Size([1, *shape[1:]]), device, dtype)
        return found
