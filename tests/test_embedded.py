"""The base that ships: its size, that diffusers draws the same with it, and that its drawings obey."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
)
from torch import Tensor

from underdraw.annotators import as_hint, build, extract
from underdraw.annotators.measures import edge_scores
from underdraw.data.scenes import records
from underdraw.generation import Studio, base_folder, draw, finish, native_size
from underdraw.generation.controls import control_nets
from underdraw.generation.sampler import start
from underdraw.model import Control

FOLDER = base_folder("embedded")
LIMIT = 15_000_000
"""Largest file, in bytes: more could not travel everywhere."""
BASE_LIMIT = 40_000_000
WHOLE_LIMIT = 100_000_000
"""Base, ControlNets and LoRAs together."""
SEEDS = [5, 6]


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio.open()


@pytest.fixture(scope="module")
def room(studio: Studio) -> Any:
    """A room that no training has seen."""
    return next(iter(records([11], native_size(studio.backbone))))


@pytest.fixture(scope="module")
def maps(studio: Studio, room: Any) -> dict[str, Tensor]:
    """Its edges and depth, B×3×H×W."""
    edges = extract("canny", room.image[None], native_size(studio.backbone))
    return {"canny": as_hint(edges).contiguous(), "depth": as_hint(room.maps["depth"][None]).contiguous()}


def test_it_is_small_and_in_half_precision() -> None:
    files = sorted(FOLDER.rglob("*.safetensors"))
    base = [path for path in files if not path.relative_to(FOLDER).parts[0].startswith(("controlnet-", "loras"))]
    assert {path.relative_to(FOLDER).parts[0] for path in base} == {"unet", "vae", "text_encoder"}
    assert all(path.stat().st_size <= LIMIT for path in files)
    assert sum(path.stat().st_size for path in base) <= BASE_LIMIT
    assert sum(path.stat().st_size for path in files) <= WHOLE_LIMIT
    from safetensors.torch import load_file

    kinds = {tensor.dtype for path in files for tensor in load_file(path).values() if tensor.is_floating_point()}
    assert kinds == {torch.float16}


@pytest.mark.parametrize(
    "kinds", [(), ("canny",), ("canny", "depth")], ids=["text only", "one control", "two controls"]
)
def test_diffusers_draws_the_same(studio: Studio, room: Any, maps: dict[str, Tensor], kinds: tuple[str, ...]) -> None:
    prompts, size = [room.text] * len(SEEDS), native_size(studio.backbone)
    controls = [Control(studio.net(kind), maps[kind]) for kind in kinds]
    frames = draw(studio.backbone, prompts, SEEDS, size, controls=controls, steps=8, scheduler="ddim")
    assert (finish(studio.backbone, frames) - _theirs(studio, prompts, size, maps, kinds)).abs().mean() < 1 / 255


def _theirs(
    studio: Studio, prompts: list[str], size: tuple[int, int], maps: dict[str, Tensor], kinds: tuple[str, ...]
) -> Tensor:
    beside = control_nets(FOLDER)
    nets = [ControlNetModel.from_pretrained(beside[kind], dtype=torch.float32) for kind in kinds]
    kind: Any = StableDiffusionControlNetPipeline if nets else StableDiffusionPipeline
    parts: dict[str, Any] = {"controlnet": nets if len(nets) > 1 else nets[0]} if nets else {}
    pipeline = kind.from_pretrained(FOLDER, dtype=torch.float32, safety_checker=None, **parts)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    shown = [maps[kind].repeat(len(prompts), 1, 1, 1) for kind in kinds]
    extra: dict[str, Any] = {"image": shown if len(nets) > 1 else shown[0]} if nets else {}
    latents, _ = start(studio.backbone, size, SEEDS)
    pictures: Tensor = pipeline(
        prompts,
        width=size[0],
        height=size[1],
        num_inference_steps=8,
        guidance_scale=4.0,
        latents=latents,
        output_type="pt",
        **extra,
    ).images
    return pictures


def test_its_drawings_obey_edges(studio: Studio) -> None:
    """Over rooms that no training has seen; the README's table says by how much."""
    size, canny = native_size(studio.backbone), build("canny")
    rooms = list(records(range(20, 28), size))
    edges = torch.cat([canny(room.image[None]) for room in rooms])
    prompts, seeds = [room.text for room in rooms], list(range(8))
    control = Control(studio.net("canny"), as_hint(edges))
    free, bound = (
        finish(studio.backbone, draw(studio.backbone, prompts, seeds, size, controls=controls))
        for controls in ((), (control,))
    )
    scores = [edge_scores(canny(drawn), edges).f1.mean() for drawn in (free, bound)]
    assert scores[1] > scores[0] + 0.1


@pytest.mark.parametrize("size", [(96, 64), (48, 80)])
def test_it_draws_other_sizes(studio: Studio, size: tuple[int, int]) -> None:
    pictures = finish(studio.backbone, draw(studio.backbone, ["a red ball"], [0], size, steps=4))
    assert pictures.shape == (1, 3, size[1], size[0])
    assert 0.02 < float(pictures.std()) < 0.5


def test_the_package_carries_it() -> None:
    import tomllib

    told = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert "embedded/**/*" in told["tool"]["setuptools"]["package-data"]["underdraw"]
