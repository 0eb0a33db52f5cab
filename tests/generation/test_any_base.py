"""Any Stable Diffusion: files and folders are one base, nets and LoRAs go by name, and diffusers draws the same."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
)
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from underdraw.errors import CheckpointError, ConfigError, InputError
from underdraw.generation import (
    ControlRequest,
    Drawn,
    Studio,
    Wish,
    denoise,
    encode_prompts,
    fingerprint,
    plan,
    read_drawing,
    start,
    verify,
)
from underdraw.generation.nets import Net
from underdraw.model import Control, Injection, predict

from ..formats.tiny import same
from .conftest import tiny_base
from .shelf import Shelf, adapter, fill

PROMPT, SEED, SIZE = "a chef in the kitchen", 7, (64, 64)
PICTURE, OTHER = (torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
QUICK: dict[str, Any] = {"steps": 2, "size": SIZE, "seeds": [SEED]}


@pytest.fixture(scope="module")
def shelves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shelf]:
    root = tmp_path_factory.mktemp("shelf")
    return {family: fill(root / family, family) for family in ("sd1", "sdxl")}


@pytest.fixture
def shelf(shelves: dict[str, Shelf], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shelf:
    monkeypatch.setenv("UNDERDRAW_MODELS", str(shelves["sd1"].root))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return shelves["sd1"]


@pytest.fixture
def studio(shelf: Shelf) -> Studio:
    return Studio.open("single", "cpu")


def drawn(studio: Studio, **more: Any) -> Drawn:
    (one,) = studio.draw(**{"prompt": PROMPT} | QUICK | more)
    return one


def control(net: str = "", kind: str = "canny", **how: Any) -> ControlRequest:
    return ControlRequest(kind, PICTURE, net=net, is_map=True, **how)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_file_and_its_folder_are_one_base(shelves: dict[str, Shelf], family: str) -> None:
    from_file, from_folder = (
        Studio.open(str(place), "cpu") for place in (shelves[family].file, shelves[family].folder)
    )
    first, second = from_file.backbone, from_folder.backbone
    assert same(first.unet, second.unet) and same(first.vae, second.vae)
    assert all(same(*pair) for pair in zip(first.text_encoders, second.text_encoders, strict=True))
    assert (from_file.name, from_folder.name) == ("single", "stock")
    if family == "sd1":
        assert torch.equal(drawn(from_file).picture, drawn(from_folder).picture)


@pytest.mark.parametrize(("count", "with_lora"), [(1, False), (2, True)])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_diffusers_leaves_the_same_latents(shelves: dict[str, Shelf], family: str, count: int, with_lora: bool) -> None:
    """Ours from the single file and the nets' original files, theirs from the folders; the LoRA loaded by both."""
    shelf, weights = shelves[family], [0.8, 0.6][:count]
    studio, maps = Studio.open(str(shelf.file), "cpu"), [PICTURE[None], OTHER[None]][:count]
    files = [str(shelf.root / f"{name}.safetensors") for name in shelf.nets[:count]]
    controls = [
        studio.nets.open("canny", file).control(each, weight=weight)
        for file, each, weight in zip(files, maps, weights, strict=True)
    ]
    worn = [studio.loras.worn(request) for request in lora_requests(shelf)] if with_lora else []
    with studio.loras.on(worn):
        negative = "" if family == "sdxl" else "blue"
        pull = encode_prompts(studio.backbone, [PROMPT], SIZE, 5.0, negative)
        noise, generators = start(studio.backbone, SIZE, [SEED])
        frames = denoise(studio.backbone, pull, noise, generators, steps=5, scheduler="ddim", controls=controls)
        *_, last = frames
    assert_close(last.latents, theirs(shelf, maps, weights, noise, with_lora), atol=1e-4, rtol=0)


def lora_requests(shelf: Shelf) -> list[Any]:
    from underdraw.generation import LoraRequest

    return [LoraRequest(str(shelf.root / "first.safetensors"), 0.6)]


def theirs(shelf: Shelf, maps: list[Tensor], weights: list[float], noise: Tensor, with_lora: bool) -> Tensor:
    kind: Any = StableDiffusionXLControlNetPipeline if shelf.family == "sdxl" else StableDiffusionControlNetPipeline
    nets = [ControlNetModel.from_pretrained(shelf.root / "diffusers" / name) for name in shelf.nets[: len(maps)]]
    pipeline = kind.from_pretrained(shelf.folder, controlnet=nets)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    if with_lora:
        pytest.importorskip("peft")
        pipeline.load_lora_weights(shelf.root, weight_name="first.safetensors", adapter_name="first")
        pipeline.set_adapters(["first"], [0.6])
    more: Any = {} if shelf.family == "sdxl" else {"negative_prompt": ["blue"]}
    latents: Tensor = pipeline(
        [PROMPT],
        image=maps,
        controlnet_conditioning_scale=weights,
        num_inference_steps=5,
        guidance_scale=5.0,
        latents=noise.clone(),
        output_type="latent",
        width=SIZE[0],
        height=SIZE[1],
        **more,
    ).images
    return latents


def test_every_form_of_a_net_goes_by_name(studio: Studio, shelf: Shelf) -> None:
    """One net: its original file, its folder, a pickle, a Control-LoRA of full rank."""
    name = shelf.nets[0]
    found = [
        drawn(studio, controls=[control(each)]).picture
        for each in (name, str(shelf.root / "diffusers" / name), "old.pth")
    ]
    assert all(torch.equal(found[0], each) for each in found[1:])
    low, bare = drawn(studio, controls=[control("small")]).picture, drawn(studio).picture
    assert (low - found[0]).abs().mean() < 1e-3 * (bare - found[0]).abs().mean()
    assert (found[0] - bare).abs().max() > 0.02, "the net must be heard"


def test_an_adapter_is_a_net_too(studio: Studio, shelf: Shelf, tmp_path: Path) -> None:
    """Its features are diffusers', scaled by weight, curve, mask and side; and it travels in a recipe."""
    net = studio.nets.open("canny", "adapter")
    assert isinstance(net, Net) and [site.scale for site in net.speaker.sites] == [1, 2, 4, 8]
    single = net.control(PICTURE[None], weight=0.5, curve=(1.0, 0.0, 2.0, 1.0)).prepared()
    assert isinstance(single, Injection)
    stock = adapter()(PICTURE[None])
    for mine, other, level in zip(single.injections(), stock, (0.5, 0.0, 1.0, 0.5), strict=True):
        assert_close(mine, level * other)
    one = drawn(studio, controls=[control("adapter", weight=0.7)])
    assert (one.picture - drawn(studio).picture).abs().max() > 0.01, "the adapter must be heard"
    one.save(tmp_path / "out.png")
    assert read_drawing(tmp_path / "out.png").controls[0].net == "adapter"
    assert verify(studio, tmp_path / "out.png").finding == "exact"
    with pytest.raises(ConfigError, match="is a T2I-Adapter"):
        studio.net("canny", "adapter")


@torch.no_grad()
def test_each_item_hears_its_own_adapter(studio: Studio) -> None:
    """Law 6: weights, maps and masks by item; what is silent in an item changes nothing there."""
    net, unet = studio.nets.open("canny", "adapter"), studio.backbone.unet
    text, sample = studio.backbone.encode_text(["a", "b"]), torch.randn(2, 4, 8, 8)
    mask = torch.ones(2, 1, 64, 64)
    mask[1, :, :32] = 0
    maps = torch.stack([PICTURE, OTHER])
    both = net.control(maps, weight=torch.tensor([0.5, 1.5]), mask=mask).prepared()
    together = predict(unet, sample, 500, text, [both])
    for place, weight in enumerate((0.5, 1.5)):
        one = slice(place, place + 1)
        alone = net.control(maps[one], weight=weight, mask=mask[one]).prepared()
        assert_close(predict(unet, sample[one], 500, text[one], [alone]), together[one], atol=1e-5, rtol=1e-4)
    quiet = net.control(maps, weight=torch.tensor([0.0, 1.0])).prepared()
    assert_close(predict(unet, sample, 500, text, [quiet])[:1], predict(unet, sample, 500, text)[:1], atol=1e-6, rtol=0)
    half = net.control(maps[:1], side="conditional").prepared().repeated(2, 1)
    conditional = predict(unet, sample, 500, text, [half])
    assert_close(conditional[:1], predict(unet, sample, 500, text)[:1], atol=1e-6, rtol=0)
    assert (conditional[1] - predict(unet, sample, 500, text)[1]).abs().max() > 1e-3


def test_an_adapter_in_windows(studio: Studio) -> None:
    """In each window it looks at its piece of the map."""
    net = studio.nets.open("canny", "adapter")
    wide = torch.cat([PICTURE, OTHER], dim=-1)[None]
    piece = net.control(wide).prepared().cut((slice(0, 8), slice(8, 16)), (8, 16))
    assert all(torch.equal(one, other) for one, other in zip(piece.injections(), adapter()(OTHER[None]), strict=True))
    (one,) = studio.draw(
        PROMPT, controls=[control("adapter")], tiling={"width": 64, "height": 64}, **QUICK | {"size": (128, 64)}
    )
    assert one.picture.shape == (3, 64, 128)


def as_published(shelf: Shelf, path: Path) -> str:
    """A net under another name, without the metadata by which our files say what they are."""
    save_file(load_file(shelf.root / f"{shelf.nets[0]}.safetensors"), path)
    return str(path)


def test_shuffle_is_pooled_and_conditional(studio: Studio, shelf: Shelf, tmp_path: Path) -> None:
    """As the published net wants it, known by its name; what a person says comes first."""
    copy = as_published(shelf, tmp_path / "control_v11e_sd15_shuffle.safetensors")
    asked = control(copy, "shuffle")
    assert studio.net("shuffle", copy).branch.pool
    assert drawn(studio, controls=[asked]).drawing.controls[0].side == "conditional"
    assert drawn(studio, controls=[control(copy, "shuffle", side="both")]).drawing.controls[0].side == "both"
    assert drawn(studio, controls=[control(shelf.nets[0])]).drawing.controls[0].side == "both"


def test_a_net_for_other_maps_is_told(studio: Studio, shelf: Shelf, tmp_path: Path) -> None:
    lines: list[str] = []
    name = as_published(shelf, tmp_path / "control_v11f1p_sd15_depth.safetensors")
    for kind, path in (("depth", name), ("depth_midas", name), ("canny", name)):
        list(plan(studio, Wish(("x",), (control(path, kind),), SIZE, settings={"steps": 1}), lines.append))
    assert len(lines) == 1 and "was made for maps of depth, and is given canny" in lines[0]


def test_the_published_net_is_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For SD 1.x, where there is none beside the base: from the shelf, or a line that says which file to put where."""
    monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    base = tiny_base(tmp_path / "tiny", width=768)
    studio = Studio.open(str(base), "cpu")
    with pytest.raises(ConfigError) as caught:
        studio.net("scribble")
    shown = (
        f"there is canny, depth (folders controlnet-<kind>); put control_v11p_sd15_scribble.pth into {tmp_path}/models"
    )
    assert shown in str(caught.value) and "net=lllyasviel/control_v11p_sd15_scribble" in str(caught.value)
    shutil.copytree(base / "controlnet-canny", tmp_path / "models" / "control_v11p_sd15_scribble")
    asked = ControlRequest("scribble", torch.rand(3, 32, 32), is_map=True)
    (one,) = studio.draw("x", controls=[asked], seeds=[1], steps=1)
    assert one.drawing.controls[0].net == "lllyasviel/control_v11p_sd15_scribble"
    one.save(tmp_path / "out.png")
    assert verify(studio, tmp_path / "out.png").finding == "exact"


def test_nets_of_another_family_are_refused(shelves: dict[str, Shelf], shelf: Shelf, studio: Studio) -> None:
    other = str(shelves["sdxl"].root / "canny-xl.safetensors")
    with pytest.raises(
        CheckpointError, match="is a ControlNet for Stable Diffusion XL, and the base is Stable Diffusi"
    ):
        drawn(studio, controls=[control(other)])
    with pytest.raises(ConfigError, match="no control is called 'nothing'"):
        drawn(studio, controls=[control("nothing")])
    with pytest.raises(CheckpointError, match="is a base, not"):
        drawn(studio, controls=[control("single")])


def test_another_autoencoder(shelf: Shelf, tmp_path: Path) -> None:
    """It is heard, stands in the recipe with its hash, and a recipe is not drawn with another one."""
    place = shutil.copytree(shelf.folder / "vae", tmp_path / "bright")
    tensors = load_file(place / "diffusion_pytorch_model.safetensors")
    tensors["decoder.conv_out.bias"] = tensors["decoder.conv_out.bias"] + 0.3
    save_file(tensors, place / "diffusion_pytorch_model.safetensors")
    plain = Studio.open("single", "cpu")
    bright = Studio.open("single", "cpu", vae=str(place))
    one = drawn(bright)
    assert (one.picture - drawn(plain).picture).abs().mean() > 0.02
    assert one.drawing.vae is not None and one.drawing.vae.hash == fingerprint(place)
    assert bright.hash == plain.hash and "VAE: bright" in one.drawing.parameters()
    one.save(tmp_path / "out.png")
    assert verify(bright, tmp_path / "out.png").finding == "exact"
    with pytest.raises(InputError, match=r"drawn with the autoencoder .*bright'.* not the base's own"):
        verify(plain, tmp_path / "out.png")


def test_the_hash_of_a_file_is_its_sha256(shelf: Shelf, tmp_path: Path) -> None:
    """What A1111 shows, and what changes with any byte, even where the name and the size stay."""
    import hashlib

    copy = Path(shutil.copy(shelf.file, tmp_path / "copy.safetensors"))
    data = copy.read_bytes()
    assert fingerprint(copy) == hashlib.sha256(data).hexdigest()[:16] == fingerprint(shelf.file)
    copy.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert fingerprint(copy) != fingerprint(shelf.file)


def test_controls_are_plain_where_they_are_controlnets(studio: Studio, shelf: Shelf) -> None:
    assert type(studio.nets.open("canny", shelf.nets[0]).control(PICTURE[None])) is Control
