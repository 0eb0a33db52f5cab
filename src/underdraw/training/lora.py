"""Learning a LoRA on the locked base: a style, a thing (DreamBooth), or a correction inside a control branch."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from underdraw.data.batches import PictureSet
from underdraw.data.buckets import Size
from underdraw.data.folder import Record, write_folder
from underdraw.data.shards import ShardSet
from underdraw.errors import ConfigError
from underdraw.formats.lora import write_lora
from underdraw.model import Backbone, Control, apply_policy, attach, build_lora, load_control, predict
from underdraw.model.lora import parts
from underdraw.training.denoiser import sketch
from underdraw.training.hints import Hints
from underdraw.training.latents import LatentSet
from underdraw.training.objective import denoising_loss, draw_batch, mask_of
from underdraw.training.pictures import WHOLE, Either, Pictures, Share, samples, sizes, spread
from underdraw.training.precision import channels_last, recomputed, use_float32_attention
from underdraw.training.processes import in_turn
from underdraw.training.recipe import ControlRun, LoraRun, Prior, Recipe
from underdraw.training.sheets import mosaic
from underdraw.training.spoken import encode_spoken, sized

__all__ = ["LoraTask"]


class LoraTask:
    """Predict noise of captioned pictures; only the adapters learn, whatever they are attached to."""

    def __init__(self, recipe: Recipe, config: LoraRun, pictures: Pictures, watched: PictureSet) -> None:
        self.recipe, self.config = recipe, config
        self.pictures, self.watched = (_called(pictures, config.caption), _called(watched, config.caption))
        self.backbone = sized(Backbone.load(config.base, recipe.device), sizes(watched)[0])
        if self.backbone.vae is None or not self.backbone.text_encoders:
            raise ConfigError(
                f"base {config.base} has no VAE or no text encoder; use a Stable Diffusion 1.x, 2.x or XL"
            )
        apply_policy(self.backbone.unet, "lora")
        self.guide = _Guide(config, self.backbone) if config.control else None
        host = parts(self.backbone) | (parts(self.guide.net) if self.guide else {})
        for part in host.values():
            channels_last(part)
            if recipe.checkpointing:
                recomputed(part)
            if recipe.precision == "bf16" and recipe.device == "cpu":
                use_float32_attention(part)
        self.latents = self._encode(self.pictures)
        self.prior = self._prior(config.prior) if config.prior else None
        torch.manual_seed(recipe.seed)
        self.lora = build_lora(host, config.lora)
        self.module: nn.Module = channels_last(self.lora)
        self.attached = attach(host, self.lora)

    def losses(self, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """`denoise`: the weighted error of the prediction; `prior`: that of the base's own pictures of the class."""
        losses = {"denoise": self._denoise(self.pictures, self.latents, step, share)}
        if self.prior and self.config.prior:
            weight = self.config.prior.weight
            losses["prior"] = weight * self._denoise(*self.prior, step, share, first=self.recipe.batch)
        return losses

    def _denoise(self, pictures: Pictures, latents: LatentSet, step: int, share: Share, first: int = 0) -> Tensor:
        """The loss of one batch, whose first sample is at the place `first` among all samples of the step."""
        seen = samples(pictures, self.recipe.seed, step, self.recipe.batch, share, first)
        indices, draws, shape = seen.indices, seen.draws, latents.shape(seen.indices)
        device, process = self.recipe.device, self.backbone.process
        mask = mask_of(pictures, indices, self.config, shape) if pictures is self.pictures else None
        drawn = draw_batch(latents, indices, draws, process, self.config, device, mask)
        factor, text = self.backbone.factor, drawn.text
        if text.pooled is not None:
            text = text.sized(factor * shape[-1], factor * shape[-2])
        controls = (Control(self.guide.net, self.guide.maps(pictures, indices, draws)),) if self.guide else ()
        prediction = predict(self.backbone.unet, drawn.noisy, drawn.timestep, text, controls)
        return denoising_loss(prediction, drawn, process, self.config)

    def _encode(self, pictures: Pictures) -> LatentSet:
        """The moments, and the text: kept, or encoded at every step where its encoders learn (or SDXL's are two)."""
        cache = Path(self.recipe.output).parent / "cache"
        learns = any(part.startswith("text_encoder") for part in self.config.lora.parts)
        if learns or len(self.backbone.text_encoders) > 1:
            return encode_spoken(self.backbone, pictures, cache, learns)
        return LatentSet.encode(self.backbone, pictures, cache)

    @torch.no_grad()
    def _prior(self, prior: Prior) -> tuple[PictureSet, LatentSet]:
        """The pictures of the class that the base draws, once a run, and their latents."""
        size, seed = sizes(self.watched)[0], self.recipe.seed
        key = hashlib.blake2b(json.dumps([prior.prompt, prior.count, seed, size]).encode(), digest_size=8).hexdigest()
        folder = Path(self.recipe.output) / f"prior-{key}"
        with in_turn():
            if not (folder / "metadata.jsonl").exists():
                for _ in write_folder(folder, _drawn(self.backbone, prior, size, seed)):
                    pass
        pictures = PictureSet.load([folder])
        return pictures, self._encode(pictures)

    @torch.no_grad()
    def sheet(self) -> Tensor:
        """Twelve watched pictures, what the base draws of their captions, and what it draws with the LoRA."""
        chosen = spread(len(self.watched))
        captions = [self.watched.texts[int(i)][0] for i in chosen]
        control = (self.guide.net, self.guide.maps(self.watched, chosen, None)) if self.guide else None
        rows = [self.watched.pictures(chosen)]
        for weight in (0.0, 1.0):
            self.attached.weight = weight
            rows.append(sketch(self.backbone, captions, sizes(self.watched)[0], self.recipe.seed, control))
        return mosaic(torch.cat(rows), columns=len(chosen))

    def export(self, folder: Path) -> None:
        """Write the LoRA for diffusers, and (inside a branch there is none) for A1111 and ComfyUI."""
        write_lora(self.lora, folder / "pytorch_lora_weights.safetensors", "diffusers")
        if "control" not in self.config.lora.parts:
            layout = "kohya-xl" if len(self.backbone.text_encoders) > 1 else "kohya"
            write_lora(self.lora, folder / "lora.safetensors", layout, _facts(self.recipe, len(self.pictures)))


class _Guide:
    """The ControlNet inside which a LoRA learns, and the maps that it is shown."""

    def __init__(self, config: LoraRun, backbone: Backbone) -> None:
        if config.condition is None:
            raise ConfigError("learn.control is a ControlNet and needs learn.condition, the map that it is shown")
        self.net = load_control(str(config.control), backbone.unet).requires_grad_(False)
        self.hints = Hints(ControlRun(base=config.base, condition=config.condition))

    def maps(self, pictures: Pictures, indices: Tensor, draws: Sequence[torch.Generator] | None) -> Tensor:
        """Of the chosen pictures."""
        return self.hints(pictures, indices, draws).to(next(self.net.parameters()).device)


def _called(pictures: Either, caption: str) -> Either:
    """The same pictures under other names."""
    if isinstance(pictures, ShardSet):
        named = [
            replace(each, texts=tuple(caption.replace("{}", text) for text in each.texts or ("",)))
            for each in pictures.samples
        ]
        return replace(pictures, samples=named)
    return replace(pictures, texts=[[caption.replace("{}", text) for text in texts] for texts in pictures.texts])


def _drawn(backbone: Backbone, prior: Prior, size: Size, seed: int, together: int = 8) -> Iterator[Record]:
    """What the base draws of a class."""
    for start in range(0, prior.count, together):
        count = min(together, prior.count - start)
        for place, picture in enumerate(sketch(backbone, [prior.prompt] * count, size, seed + start), start=start):
            yield Record(f"{place:05d}", picture, prior.prompt)


def _facts(recipe: Recipe, pictures: int) -> dict[str, str]:
    """What kohya's scripts tell of a training, by their names."""
    return {
        "ss_output_name": Path(recipe.output).name,
        "ss_steps": str(recipe.steps),
        "ss_num_train_images": str(pictures),
        "ss_total_batch_size": str(recipe.batch),
        "ss_learning_rate": str(recipe.optimizer.lr),
        "ss_optimizer": recipe.optimizer.kind,
        "ss_seed": str(recipe.seed),
    }
