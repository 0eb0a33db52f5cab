"""Learning the autoencoder: pictures to a quarter of their size in four channels, and back."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from underdraw.data.batches import PictureSet
from underdraw.training.pictures import WHOLE, Share, samples, spread
from underdraw.training.precision import channels_last
from underdraw.training.recipe import Recipe, Vae
from underdraw.training.sheets import mosaic

__all__ = ["VaeTask", "build_vae"]


def build_vae(config: Vae, size: int) -> AutoencoderKL:
    """A randomly initialised `AutoencoderKL` with one halving between each two widths."""
    depth = len(config.channels)
    return AutoencoderKL(
        block_out_channels=config.channels,
        layers_per_block=1,
        latent_channels=config.latent_channels,
        down_block_types=["DownEncoderBlock2D"] * depth,
        up_block_types=["UpDecoderBlock2D"] * depth,
        mid_block_add_attention=False,
        norm_num_groups=8,
        sample_size=size,
    )


class VaeTask:
    """Reconstruction (L1 of pixels and of their gradients) and KL on random crops."""

    def __init__(self, recipe: Recipe, config: Vae, pictures: PictureSet, watched: PictureSet) -> None:
        self.recipe, self.config, self.pictures, self.watched = recipe, config, pictures, watched
        torch.manual_seed(recipe.seed)
        self.vae = build_vae(config, pictures.pixels.shape[-1]).to(recipe.device)
        self.module: nn.Module = channels_last(self.vae)

    def losses(self, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """`pixels` (L1), `edges` (L1 of the horizontal and vertical differences), `kl`."""
        seen = samples(self.pictures, self.recipe.seed, step, self.recipe.batch, share)
        indices, draws = seen.indices, seen.draws
        clean = self._crop(self.pictures.pictures(indices) * 2 - 1, draws).to(self.recipe.device)
        moments = self.vae.encode(clean).latent_dist
        noise = torch.stack([torch.randn(moments.mean.shape[1:], generator=draw) for draw in draws])
        drawn = self.vae.decode(moments.mean + moments.std * noise.to(clean.device)).sample.float()
        return {
            "pixels": (drawn - clean).abs().mean(),
            "edges": self.config.edge_weight * (gradients(drawn) - gradients(clean)).abs().mean(),
            "kl": self.config.kl_weight * moments.kl().mean(),
        }

    def _crop(self, pictures: Tensor, draws: list[torch.Generator]) -> Tensor:
        """A random window of each picture, half of them mirrored."""
        side, (height, width) = self.config.crop, pictures.shape[-2:]
        windows = []
        for picture, draw in zip(pictures, draws, strict=True):
            top = int(torch.randint(height - side + 1, (), generator=draw))
            left = int(torch.randint(width - side + 1, (), generator=draw))
            window = picture[:, top : top + side, left : left + side]
            flip = bool(torch.rand((), generator=draw) < 0.5)
            windows.append(window.flip(-1) if flip else window)
        return torch.stack(windows).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def sheet(self) -> Tensor:
        """Watched pictures above their reconstructions."""
        pictures = self.watched.pictures(spread(len(self.watched)))
        return mosaic(torch.cat([pictures, self._rebuilt(pictures)]), columns=len(pictures))

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Reconstruction PSNR in dB over the watched pictures."""
        pictures = self.watched.pictures(torch.arange(min(256, len(self.watched))))
        errors = (self._rebuilt(pictures) - pictures).square().mean((1, 2, 3))
        return {"psnr": float((-10 * errors.log10()).mean())}

    def _rebuilt(self, pictures: Tensor) -> Tensor:
        """Pictures in [0, 1] through the autoencoder and back."""
        drawn = self.vae.decode(self._mean(pictures)).sample
        rebuilt: Tensor = (drawn / 2 + 0.5).clamp(0, 1).cpu()
        return rebuilt

    def _mean(self, pictures: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode((pictures * 2 - 1).to(self.recipe.device)).latent_dist.mean
        return mean

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write the VAE with the scale that gives its latents unit spread on the training pictures."""
        chosen = torch.linspace(0, len(self.pictures) - 1, 512).long()
        latents = torch.cat([self._mean(self.pictures.pictures(part)) for part in chosen.split(64)])
        self.vae.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
        self.vae.save_pretrained(folder)


def gradients(pictures: Tensor) -> Tensor:
    """B×2C×(H-1)×(W-1): differences to the right and to the lower neighbour."""
    here = pictures[..., :-1, :-1]
    return torch.cat([pictures[..., :-1, 1:] - here, pictures[..., 1:, :-1] - here], dim=1)
