"""Embeddings of texts: each distinct text once, and the encoder leaves the memory afterwards."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from egowm.loading import EMPTY

Embed = Callable[[Path, list[str]], tuple[Tensor, Tensor]]


class Texts:
    """Embeddings of texts by a pipeline's text encoder, each made once.

    A folder without an encoder may bring the embedding of "" in `empty_text.safetensors` (tensors
    `embedding` (L, D) and `mask` (L,)).

    Args:
        folder: The pipeline's.
        embed: (folder, texts) -> embeddings (n, L, D) and mask (n, L); it loads tokenizer and
            encoder and lets them go.
    """

    def __init__(self, folder: Path, embed: Embed) -> None:
        self.folder, self.embed = folder, embed
        self.held: dict[str, tuple[Tensor, Tensor]] = {}

    def remember(self, text: str, embedding: Tensor, mask: Tensor) -> None:
        """Take an embedding (L, D) and its mask (L,) from elsewhere, for instance an export."""
        self.held[text] = (embedding.float(), mask.float())

    def __call__(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """Embeddings (n, L, D) and masks (n, L), on `device`.

        Raises ValueError for a text that needs an encoder which the folder lacks.
        """
        if "" in texts and "" not in self.held and (self.folder / EMPTY).is_file():
            from safetensors.torch import load_file

            empty = load_file(self.folder / EMPTY)
            self.remember("", empty["embedding"], empty["mask"])
        new = [text for text in dict.fromkeys(texts) if text not in self.held]
        if new and not (self.folder / "text_encoder").is_dir():
            raise ValueError(
                f"{self.folder} has no text encoder and knows no text {new[0]!r}: leave text out, "
                f"or add the pipeline's text_encoder and tokenizer folders (for the text '' alone "
                f"{EMPTY} is enough)."
            )
        if new:
            with torch.no_grad():
                embeddings, masks = self.embed(self.folder, new)
            for text, embedding, mask in zip(new, embeddings.cpu(), masks.cpu(), strict=True):
                self.remember(text, embedding, mask)
        pairs = [self.held[text] for text in texts]
        embedding, mask = (torch.stack(column).to(device) for column in zip(*pairs, strict=True))
        return embedding, mask
