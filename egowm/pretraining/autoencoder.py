"""Training of small VAEs: what a prior needs before there is a latent to diffuse."""

from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from egowm.clip import Clip
from egowm.data.loader import TrainingLoader
from egowm.files import FolderKind, check_folder, filled
from egowm.loading import load_model
from egowm.pixels import to_model
from egowm.pretraining.starts import start_as_cosines, start_causal_as_cosines
from egowm.randomness import StepSeeds

VAE = FolderKind(
    "egowm fit",
    r"config\.json|diffusion_pytorch_model[^/]*",
    lambda folder: (folder / "config.json").is_file(),
)
MEASURED_BATCHES = 16  # of training clips, for the scaling factor where validation did not see it


class Autoencoder(LightningModule):
    """A small VAE that is trained to reconstruct frames.

    It is diffusers' `AutoencoderKL` with one norm group, or its causal `AutoencoderKLWan` with
    single latent frames, and starts as the cosines of blocks (`egowm.pretraining.starts`). When
    fitting ends, `<default_root_dir>/vae` holds the VAE with its measured statistics.

    Args:
        width: Channels of every stage.
        stages: Number S of stages, which compress each side 2^(S-1) times.
        latent_channels: Channels of the latents.
        kl: Weight of the KL divergence in the loss.
        learning_rate: Highest learning rate of a one-cycle schedule.
        crop: Side of the random square that training sees, in pixels; 0 is the whole frame. Many
            small squares teach more than few frames.
        continued: Folder of a trained VAE to go on from, with its sizes. Only its decoder is
            trained, so that networks trained on its latents stay valid; a causal one is trained
            as a whole. "" starts anew.
        causal: Train the causal VAE, which sees a clip as a video.
        single_frames: Show the causal VAE the frames of a clip as single pictures.

    >>> model = Autoencoder(width=64, stages=4, latent_channels=8)
    >>> model.configure_model()
    >>> model.vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mode().shape  # compressed 8 times
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        width: int = 32,
        stages: int = 3,
        latent_channels: int = 16,
        kl: float = 1e-6,
        learning_rate: float = 1e-3,
        crop: int = 0,
        continued: str = "",
        causal: bool = False,
        single_frames: bool = False,
    ) -> None:
        super().__init__()
        self.causal, self.single_frames = causal, single_frames
        self.width, self.stages, self.latent_channels = width, stages, latent_channels
        self.kl, self.learning_rate, self.crop = kl, learning_rate, crop
        self.continued = continued
        self._moments: list[Tensor] = []
        self._measured_at = -1  # the step after which the scaling factor was measured

    def configure_model(self) -> None:
        if hasattr(self, "vae"):
            return
        self.vae = self._causal() if self.causal else self._by_frame()

    def configure_callbacks(self) -> list[Callback]:
        return [StepSeeds()]

    def _by_frame(self) -> Any:
        from diffusers import AutoencoderKL

        if self.continued:
            vae = load_model(AutoencoderKL, Path(self.continued))
            vae.encoder.requires_grad_(False)
            vae.quant_conv.requires_grad_(False)
            return vae
        vae = AutoencoderKL(
            block_out_channels=(self.width,) * self.stages,
            down_block_types=("DownEncoderBlock2D",) * self.stages,
            up_block_types=("UpDecoderBlock2D",) * self.stages,
            layers_per_block=1,
            latent_channels=self.latent_channels,
            norm_num_groups=1,
            mid_block_add_attention=False,
            force_upcast=False,
        )
        start_as_cosines(vae)
        return vae

    def _causal(self) -> Any:
        from diffusers import AutoencoderKLWan

        if self.continued:
            return load_model(AutoencoderKLWan, Path(self.continued))
        vae = AutoencoderKLWan(
            base_dim=self.width,
            z_dim=self.latent_channels,
            dim_mult=[1] * self.stages,
            num_res_blocks=1,
            temperal_downsample=[False] * (self.stages - 1),
            scale_factor_temporal=1,
            scale_factor_spatial=2 ** (self.stages - 1),
            latents_mean=[0.0] * self.latent_channels,
            latents_std=[1.0] * self.latent_channels,
        )
        start_causal_as_cosines(vae)
        return vae

    def loss(self, frames: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """frames: (B, T, 3, H, W) uint8. L1 plus 4 x squared error, plus the weighted KL."""
        target = self._shaped(frames)
        posterior = self.vae.encode(target).latent_dist
        latents = posterior.sample()
        output = self.vae.decode(latents).sample.float()
        squared = F.mse_loss(output, target)
        power = posterior.mean.square() + posterior.var - 1 - posterior.logvar
        kl = 0.5 * power.mean()  # diffusers' own sums three axes, which are not all of a video's
        total = F.l1_loss(output, target) + 4 * squared + self.kl * kl
        psnr = 10 * torch.log10(4 / squared.detach())
        return total, {"psnr": psnr, "kl": kl.detach(), "latent_std": latents.detach().std()}

    def _shaped(self, frames: Tensor) -> Tensor:
        """In [-1, 1]: frames (B*T, 3, H, W), or videos (B, 3, T, H, W) for a causal VAE."""
        scaled = to_model(frames)
        if not self.causal:
            return scaled.flatten(0, 1)
        return (scaled.flatten(0, 1)[:, None] if self.single_frames else scaled).transpose(1, 2)

    def training_step(self, clip: Clip, batch_idx: int) -> Tensor:
        total, logs = self.loss(self._cropped(clip.frames))
        self.log("train/loss", total.detach())
        for name, value in logs.items():
            self.log(f"train/{name}", value, prog_bar=name == "psnr")
        return total

    def validation_step(self, clip: Clip, batch_idx: int) -> None:
        total, logs = self.loss(clip.frames)
        self.log("val/loss", total, batch_size=len(clip.frames))
        self.log("val/psnr", logs["psnr"], batch_size=len(clip.frames), prog_bar=True)
        self._measure(clip)

    @torch.no_grad()
    def _measure(self, clip: Clip) -> None:
        latents = self.vae.encode(self._shaped(clip.frames)).latent_dist.mode().float()
        dims = (0, *range(2, latents.ndim))
        self._moments.append(torch.stack([latents.mean(dims), latents.square().mean(dims)]))

    def on_validation_epoch_end(self) -> None:
        """What brings the latents to unit power. One deviation serves all channels of a causal VAE,
        too: with one for each, faint channels that hardly show would count as much as colours."""
        if self.continued and not self.causal:
            return
        mean, square = torch.stack(self._moments).mean(0)
        self._moments.clear()
        if self.causal:
            deviation = (square - mean**2).mean().sqrt().expand_as(mean)
            self.vae.register_to_config(latents_mean=mean.tolist(), latents_std=deviation.tolist())
        else:
            self.vae.register_to_config(scaling_factor=square.mean().item() ** -0.5)
        self._measured_at = self.trainer.global_step

    def _cropped(self, frames: Tensor) -> Tensor:
        side = self.crop
        if not side:
            return frames
        height, width = frames.shape[-2:]
        if side > min(height, width):
            raise ValueError(f"Expected a crop of at most {height}x{width}, got {side}.")
        top = int(torch.randint(height - side + 1, ()))
        left = int(torch.randint(width - side + 1, ()))
        return frames[..., top : top + side, left : left + side]

    def configure_optimizers(self) -> Any:
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, self.learning_rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            self.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=0.05,
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_fit_start(self) -> None:
        if self.trainer.is_global_zero:  # before the hours of training
            check_folder(self._output, VAE, force=True)

    @property
    def _output(self) -> Path:
        return Path(self.trainer.default_root_dir) / "vae"

    def on_fit_end(self) -> None:
        if self._measured_at != self.trainer.global_step:  # trained on since, or never validated
            loader: Any = self.trainer.train_dataloader
            if isinstance(loader, TrainingLoader):  # it would go on where training stopped
                loader = loader.afresh()
            for clip in islice(loader, MEASURED_BATCHES):
                self._measure(clip.to(self.device))
            self.on_validation_epoch_end()
        if self.trainer.is_global_zero:
            with filled(self._output, VAE) as folder:
                self.vae.save_pretrained(folder)
