"""Which ways of training are measured; shared by the measurement and its tables."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One way of training. The fields from `train` to `precision` are options of `egowm fit`.

    model: "rooms-svd" (the committed prior), or "svd" and "cosmos" in their published sizes with
    random weights. compiler: of the network's blocks. data: "pixels", or "cache" for what
    `egowm data cache` makes of them. average: whether a moving average of the weights is kept, on
    the CPU. size: (H, W) pixels.
    """

    name: str
    model: str = "rooms-svd"
    train: str = "full"
    gradient_checkpointing: bool = False
    optimizer: str = "adamw"
    offload: bool = False
    vae_batch: int = 0
    compiler: str | None = None
    precision: str = "32-true"
    data: str = "pixels"
    num_workers: int = 0
    average: bool = False
    size: tuple[int, int] = (64, 64)
    horizon: int = 4
    batch_size: int = 4

    @property
    def key(self) -> dict[str, Any]:
        """As it stands in a record."""
        return asdict(self) | {"size": list(self.size)}


def _card(name: str, model: str, size: tuple[int, int], horizon: int, **options: Any) -> Row:
    """As a large network is trained on one card."""
    common: dict[str, Any] = {"gradient_checkpointing": True, "precision": "bf16-mixed"}
    common |= {"average": True, "num_workers": 2, "batch_size": 1}
    return Row(name, model, size=size, horizon=horizon, **(common | options))


CPU = (
    Row("full"),
    Row("full, checkpointing", gradient_checkpointing=True),
    Row("temporal", train="temporal"),
    Row("temporal, checkpointing", train="temporal", gradient_checkpointing=True),
    Row("lora", train="lora"),
    Row("lora, checkpointing", train="lora", gradient_checkpointing=True),
    Row("conditioning", train="conditioning"),
    Row("conditioning, checkpointing", train="conditioning", gradient_checkpointing=True),
    Row("full, bf16-mixed", precision="bf16-mixed"),
    Row("full, bf16-mixed, checkpointing", precision="bf16-mixed", gradient_checkpointing=True),
    Row("full, compiled", compiler="inductor"),
    Row("full, 2 loader workers", num_workers=2),
    Row("full, from cache", data="cache"),
    Row("conditioning, from cache", train="conditioning", data="cache"),
)
CUDA = (
    _card("SVD 512, full", "svd", (512, 512), 8),
    _card("SVD 512, full, 8-bit", "svd", (512, 512), 8, optimizer="adamw_8bit"),
    _card("SVD 512, full, no checkpointing", "svd", (512, 512), 8, gradient_checkpointing=False),
    _card("SVD 512, lora", "svd", (512, 512), 8, train="lora"),
    _card("SVD 512, lora, offload", "svd", (512, 512), 8, train="lora", offload=True, vae_batch=1),
    _card("SVD 512, full, compiled", "svd", (512, 512), 8, compiler="inductor"),
    _card("SVD 256, full", "svd", (256, 256), 8),
    _card("SVD 256, lora", "svd", (256, 256), 8, train="lora"),
    _card("Cosmos 2B, full", "cosmos", (480, 640), 16),
    _card("Cosmos 2B, full, compiled", "cosmos", (480, 640), 16, compiler="inductor"),
    _card("Cosmos 2B, lora", "cosmos", (480, 640), 16, train="lora"),
)
FORETOLD = tuple(row for row in CUDA if row.compiler is None)  # a compiled network takes less
LIMITS = {"SVD 512, full": 40.0, "SVD 512, lora": 16.0}  # GB that a row must stay below
UTILISATION = {"svd": 0.25, "cosmos": 0.40}  # of the measured matrix rate, at least
ACCURACY = 0.15  # of the peak that `egowm memory` foretells
