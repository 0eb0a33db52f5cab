"""The real shape of Stable Diffusion 1.5 with random weights: what a drawing takes, and that it is diffusers'."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, DDIMScheduler, StableDiffusionControlNetPipeline
from torch.testing import assert_close

from underdraw import images
from underdraw.formats.base_writing import write_base_file
from underdraw.formats.control_writing import write_control_file, write_control_folder
from underdraw.formats.controls import ControlParts
from underdraw.generation import Studio, denoise, encode_prompts, start

from ..formats.test_real import filled, sd15
from ..formats.tiny import HOME, real_control

pytestmark = pytest.mark.slow

DRAW = """
import json, resource, sys, threading, time, types
import psutil
from underdraw.apps.cli import main
kinds = ("RssAnon", "RssShmem")
own = lambda: sum(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(kinds))
psutil.virtual_memory = lambda: types.SimpleNamespace(available=6e9 - 1024 * own())
peak, done = 0, False
def watch():
    global peak
    while not done:
        peak = max(peak, own())
        time.sleep(0.02)
watcher = threading.Thread(target=watch)
watcher.start()
code = main(sys.argv[1:])
done = True
watcher.join()
print(json.dumps([code, peak / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
"""
"""What a drawing takes in GiB: of its own, and with the pages of mapped files.

The machine says of itself that it has 6 GB: where there is more, spare memory is used for copies that are quicker.
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("real")
    write_base_file(sd15(), root / "sd15.safetensors", torch.float16)
    net = filled(real_control("sd1"), offset=1)
    parts = ControlParts(HOME, net.config, net.tensors)
    write_control_file(parts, root / "control_v11p_sd15_canny.safetensors", torch.float16)
    write_control_folder(parts, root / "diffusers", torch.float16)
    return root


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's memory")
def test_sd15_with_a_controlnet_draws_within_6_gb(shelf: Path, tmp_path: Path) -> None:
    """512×512 in bfloat16 with guidance, from files on a shelf; two steps reach the peak that twenty have."""
    images.write((torch.rand(1, 512, 512) > 0.9).float(), tmp_path / "map.png")
    options = ["--base", "sd15", "--control", f"canny={tmp_path / 'map.png'},map", "--dtype", "bfloat16"]
    options += ["--size", "512x512", "--steps", "2", "--device", "cpu", "-o", str(tmp_path / "out.png")]
    (shelf / "sd15.safetensors").rename(shelf / "v1-5-pruned-emaonly.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", DRAW, "generate", "a royal chamber with a fancy bed", *options],
        env=os.environ | {"UNDERDRAW_MODELS": str(shelf), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    (shelf / "v1-5-pruned-emaonly.safetensors").rename(shelf / "sd15.safetensors")
    assert done.returncode == 0, done.stderr
    code, own, whole = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    print(f"peak {own:.2f} GiB, with mapped files {whole:.2f} GiB")
    assert max(own, whole) * 2**30 < 6e9


@torch.no_grad()
def test_diffusers_leaves_the_same_latents_at_the_real_shape(shelf: Path) -> None:
    """In float32, five steps, with two nets; U-Net, autoencoder and text encoder are shared to save memory."""
    studio = Studio.open(str(shelf / "sd15.safetensors"), "cpu")
    backbone, size, maps = studio.backbone, (128, 128), torch.rand(2, 1, 3, 128, 128)
    name = str(shelf / "control_v11p_sd15_canny.safetensors")
    net = studio.nets.open("canny", name)
    controls = [net.control(each, weight=weight) for each, weight in zip(maps, (0.8, 0.5), strict=True)]
    pull = encode_prompts(backbone, ["a chef in the kitchen"], size, 7.5, "blue")
    noise, generators = start(backbone, size, [7])
    *_, last = denoise(backbone, pull, noise, generators, steps=5, scheduler="ddim", controls=controls)
    other = ControlNetModel.from_pretrained(shelf / "diffusers", torch_dtype=torch.float32)
    scheduler: Any = DDIMScheduler.from_config(dict(backbone.scheduler))
    parts = (backbone.vae, backbone.text_encoders[0], backbone.tokenizers[0], backbone.unet, [other, other], scheduler)
    pipeline = StableDiffusionControlNetPipeline(*parts, None, None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline(
        ["a chef in the kitchen"],
        image=list(maps),
        controlnet_conditioning_scale=[0.8, 0.5],
        negative_prompt=["blue"],
        num_inference_steps=5,
        guidance_scale=7.5,
        latents=noise.clone(),
        output_type="latent",
        width=size[0],
        height=size[1],
    ).images
    scale = float(latents.abs().max())
    assert scale > 0.5 and not torch.equal(latents, noise)
    assert_close(last.latents / max(1.0, scale), latents / max(1.0, scale), atol=1e-4, rtol=0)
