"""A1111's API, as its clients use it: webuiapi from PyPI, unmodified, at a port of this machine; and the raw fields."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import webuiapi
from PIL import Image
from starlette.testclient import TestClient

from underdraw import images
from underdraw.annotators import extract
from underdraw.apps.server.checking import recipe_in
from underdraw.apps.server.foreign import Notes, Unit
from underdraw.apps.server.units import fitted, kind_of_model, settings_of
from underdraw.errors import InputError
from underdraw.generation import ControlRequest, Drawing, Studio

from .conftest import LIMITS, Live, as_base64, listening, wait_for

SMALL: dict[str, Any] = {"width": 32, "height": 32, "steps": 2, "sampler_name": "Euler"}


@pytest.fixture(scope="module")
def live(studio: Studio) -> Iterator[Live]:
    with listening(studio) as server:
        yield server


@pytest.fixture(scope="module")
def api(live: Live) -> Any:
    return webuiapi.WebUIApi(host="127.0.0.1", port=live.port)


@pytest.fixture(scope="session")
def photo(disc: torch.Tensor) -> Image.Image:
    return Image.open(io.BytesIO(images.encode_png(disc)))


def tensor(picture: Image.Image) -> torch.Tensor:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return images.decode(file.getvalue(), "answer")[0]


def recipe(picture: Image.Image) -> Drawing:
    return Drawing.model_validate_json(picture.info["underdraw"])


def as_shown(picture: torch.Tensor) -> torch.Tensor:
    return images.from_uint8(images.to_uint8(picture))


def test_txt2img(api: Any, studio: Studio) -> None:
    result = api.txt2img(prompt="a disc", negative_prompt="squares", seed=3, cfg_scale=5, batch_size=2, **SMALL)
    told: dict[str, Any] = {"negative": "squares", "steps": 2, "guidance": 5.0, "scheduler": "euler"}
    expected = studio.draw("a disc", seeds=[3, 4], **told)
    assert len(result.images) == 2
    for picture, drawn in zip(result.images, expected, strict=True):
        assert torch.equal(tensor(picture), as_shown(drawn.picture))
    assert result.info["all_seeds"] == [3, 4] and result.info["sampler_name"] == "Euler"
    assert result.info["not_honoured"] == []
    assert result.parameters["prompt"] == "a disc"


def test_txt2img_with_a_controlnet(api: Any, photo: Image.Image, disc: torch.Tensor, studio: Studio) -> None:
    """The picture, and after it the detected map."""
    assert api.has_controlnet
    unit = webuiapi.ControlNetUnit(
        image=photo,
        module="canny",
        model=api.controlnet_model_list()[0],
        weight=0.8,
        threshold_a=60,
        threshold_b=120,
        control_mode=2,
        guidance_end=0.9,
        resize_mode="Crop and Resize",
    )
    result = api.txt2img(prompt="x", seed=1, controlnet_units=[unit], **SMALL)
    assert len(result.images) == 2
    expected_map = extract("canny", disc[None], low=60, high=120)
    assert torch.equal(tensor(result.images[1])[:1], expected_map[0])
    control = ControlRequest(
        "canny", expected_map, weight=0.8, end=0.9, is_map=True, preset="controlnet is more important"
    )
    (drawn,) = studio.draw("x", seeds=[1], steps=2, guidance=7.0, scheduler="euler", controls=[control])
    assert torch.equal(tensor(result.image), as_shown(drawn.picture))
    assert result.info["not_honoured"] == []


def test_img2img_with_a_controlnet(api: Any, photo: Image.Image) -> None:
    """The unit looks at the picture that is started from; where it is masked nothing changes outside."""
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 32))
    unit = webuiapi.ControlNetUnit(image=None, module="none", model="controlnet-depth")
    result = api.img2img(
        images=[photo],
        prompt="x",
        seed=1,
        denoising_strength=0.9,
        mask_image=mask,
        mask_blur=0,
        inpainting_fill=1,
        controlnet_units=[unit],
        **SMALL | {"steps": 4},
    )
    drawing = recipe(result.image)
    assert drawing.given is not None and drawing.given.strength == 0.9 and drawing.given.softness == 0
    assert [guide.kind for guide in drawing.controls] == ["depth"]
    changed = (tensor(result.image) - tensor(photo.convert("RGB"))).abs().amax(0)
    assert changed[:, 16:].max() == 0 and changed[:, :16].max() > 0


def test_detect(api: Any, photo: Image.Image, disc: torch.Tensor) -> None:
    result = api.controlnet_detect(
        images=[photo, photo], module="canny", processor_res=512, threshold_a=50, threshold_b=90
    )
    assert result.info == "Success" and len(result.images) == 2
    assert torch.equal(tensor(result.images[0])[:1], extract("canny", disc[None], low=50, high=90)[0])


def test_lists(api: Any, studio: Studio) -> None:
    assert api.controlnet_version() == 3
    assert [model.partition(" [")[0] for model in api.controlnet_model_list()] == [
        "controlnet-canny",
        "controlnet-depth",
    ]
    assert {"none", "canny", "scribble_xdog"} <= set(api.controlnet_module_list())
    assert {"Euler a", "DPM++ 2M", "DDIM"} <= set(api.util_get_sampler_names())
    assert "karras" in api.util_get_scheduler_names()
    assert api.util_get_current_model() == api.util_get_model_names()[0] == f"tiny [{studio.hash[:10]}]"
    assert api.get_loras() == [] and api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert api.get_memory()["ram"]["total"] > 0 and api.get_cmd_flags()["api"]
    for lists in (api.get_sd_vae, api.get_upscalers, api.get_latent_upscale_modes, api.get_prompt_styles):
        assert isinstance(lists(), list)
    api.util_set_model("tiny")
    assert api.refresh_checkpoints() is None
    assert "not changed" in api.set_options({"sd_model_checkpoint": "another"})["detail"]


def test_progress_and_interrupt(api: Any, live: Live) -> None:
    """Seen while it goes on; interrupted, what there is of it comes."""
    assert api.get_progress()["progress"] == 0 and api.get_progress()["state"]["job_count"] == 0
    found: list[Any] = []
    told = {"prompt": "x", "width": 96, "height": 96, "steps": 400}
    thread = threading.Thread(target=lambda: found.append(api.txt2img(**told)))
    thread.start()
    other = webuiapi.WebUIApi(host="127.0.0.1", port=live.port)
    wait_for(lambda: 0 < other.get_progress()["progress"] < 1)
    state = other.get_progress()["state"]
    assert state["job_count"] == 1 and 0 < state["sampling_step"] < 400 == state["sampling_steps"]
    assert other.interrupt() == {}
    thread.join(20)
    assert 0 < recipe(found[0].image).stopped < 400
    other.util_wait_for_ready(check_interval=0.1)


def test_png_info(api: Any) -> None:
    picture = api.txt2img(prompt="a disc", seed=5, **SMALL).image
    assert api.png_info(picture).info.startswith("a disc\nSteps: 2, Sampler: Euler,")


def test_with_a_token(studio: Studio) -> None:
    """What webuiapi calls a password."""
    with listening(studio, token="a-token-of-ours") as live:
        api = webuiapi.WebUIApi(port=live.port, username="anybody", password="a-token-of-ours")
        assert api.has_controlnet and len(api.txt2img(prompt="x", **SMALL).images) == 1
        with pytest.raises(RuntimeError, match="401"):
            webuiapi.WebUIApi(port=live.port).txt2img(prompt="x", **SMALL)


def posted(client: TestClient, path: str = "txt2img", **asked: Any) -> tuple[Drawing, dict[str, Any], list[str]]:
    answer = client.post(f"/sdapi/v1/{path}", json={"prompt": "x", "steps": 2} | asked)
    assert answer.status_code == 200, answer.text
    shown = answer.json()["images"]
    return recipe_in(base64.b64decode(shown[0])), json.loads(answer.json()["info"]), shown


def unit(**told: Any) -> dict[str, Any]:
    return {"alwayson_scripts": {"ControlNet": {"args": [told]}}}


def test_what_is_not_honoured_is_named(client: TestClient, sent: str) -> None:
    """And what asks for nothing is not."""
    drawing, info, _ = posted(
        client,
        restore_faces=True,
        tiling=False,
        styles=["cinematic", "quality"],
        negative_prompt="squares",
        s_churn=0.5,
        s_noise=1,
        eta=None,
        override_settings={"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": "tiny", "eta_noise_seed_delta": 31337},
        scheduler="Turbo",
        alwayson_scripts={
            "ADetailer": {"args": [True]},
            "animatediff": {"args": [False]},
            "controlnet": {
                "args": [{"image": sent, "model": "canny", "module": "canny", "hr_option": "High res only"}]
            },
        },
    )
    named = {"restore_faces", "styles.cinematic", "s_churn", "override_settings.eta_noise_seed_delta", "scheduler"}
    assert drawing.prompt.startswith("x, masterpiece") and drawing.negative == "squares" and drawing.clip_skip == 2
    assert set(info["not_honoured"]) == named | {"alwayson_scripts.ADetailer", "controlnet.hr_option"}


def test_older_names_of_a_unit(client: TestClient, sent: str) -> None:
    for told in (
        {"input_image": sent, "guidance": 0.5, "guessmode": True},
        {"image": {"image": sent, "mask": None}, "guidance_end": 0.5, "control_mode": "Guess Mode"},
        {"image": [{"image": sent}], "guidance_end": 0.5, "control_mode": "guess mode"},
        {"image": [sent, None], "guidance_end": 0.5, "control_mode": "guess"},
    ):
        drawing, _, _ = posted(client, **unit(module="canny", model="control_v11p_sd15_canny [d14c016b]", **told))
        (guide,) = drawing.controls
        assert (guide.kind, guide.end, guide.mode) == ("canny", 0.5, "guess mode")


def test_a_unit_that_is_off_or_keeps_its_map(client: TestClient, sent: str) -> None:
    drawing, _, shown = posted(client, **unit(image=sent, model="canny", enabled=False))
    assert not drawing.controls and len(shown) == 1
    drawing, _, shown = posted(client, **unit(image=sent, model="canny", module="canny", save_detected_map=False))
    assert len(drawing.controls) == 1 and len(shown) == 1
    numbers = posted(client, **unit(image=sent, model="canny", module="canny", control_mode=1, resize_mode=0))[0]
    assert numbers.controls[0].mode == "my prompt is more important"
    legacy, _, _ = posted(client, controlnet_units=[{"image": sent, "model": "canny", "module": "invert"}])
    assert legacy.controls[0].is_map


def test_mistakes_in_a_unit(client: TestClient, sent: str) -> None:
    for told in (
        {"model": "canny"},
        {"image": sent},
        {"image": sent, "module": "magic", "model": "canny"},
        {"image": sent, "model": "magic"},
        {"image": sent, "model": "canny", "control_mode": 7},
        {"image": sent, "model": "canny", "resize_mode": "Magic"},
        {"image": sent, "model": "canny", "weight": "loud"},
        {"image": 3, "model": "canny"},
    ):
        answer = client.post("/sdapi/v1/txt2img", json={"prompt": "x"} | unit(**told))
        assert answer.status_code == 422 and "\n" not in answer.json()["detail"], told


def test_a_second_pass_and_a_variation(client: TestClient) -> None:
    drawing, info, _ = posted(
        client,
        width=32,
        height=32,
        enable_hr=True,
        hr_scale=2,
        hr_upscaler="Latent",
        denoising_strength=0.6,
        hr_second_pass_steps=3,
        seed=8,
        subseed=4,
        subseed_strength=0.3,
        scheduler="karras",
        sampler_name="DPM++ 2M",
        batch_size=2,
    )
    assert (drawing.width, drawing.scheduler, drawing.seed) == (64, "dpm++ 2m karras", 8)
    assert drawing.hires is not None and (drawing.hires.how, drawing.hires.steps) == ("latent", 3)
    assert drawing.variation is not None and drawing.variation.strength == 0.3
    assert (info["all_seeds"], info["all_subseeds"]) == ([8, 8], [4, 5])


def test_img2img_wants_a_picture(client: TestClient) -> None:
    assert client.post("/sdapi/v1/img2img", json={"prompt": "x"}).status_code == 404


def test_how_a_picture_is_fitted() -> None:
    """Stretched, cropped later, or filled with its border's colour."""
    picture = torch.zeros(1, 3, 20, 40)
    picture[..., 5:15, 10:30] = 1
    assert fitted(picture, (32, 32), 0).shape[-2:] == (20, 20)
    assert fitted(picture, (32, 32), 1) is picture
    filled = fitted(picture, (32, 32), 2)
    assert filled.shape[-2:] == (40, 40) and filled.sum() == picture.sum()


def test_thresholds_out_of_range_are_left_alone(studio: Studio) -> None:
    notes = Notes()
    told = settings_of("canny", Unit(threshold_a=900, threshold_b=30, processor_res=48), 64, notes)
    assert told == {"high": 30, "resolution": 48} and notes.unheard == ["controlnet.threshold_a"]
    assert kind_of_model(studio, "Depth") == "depth"
    with pytest.raises(InputError, match="controlnet-canny"):
        kind_of_model(studio, "controlnet-cany [00000000]")


def test_control_types_and_poses(client: TestClient) -> None:
    types = client.get("/controlnet/control_types").json()["control_types"]
    assert types["Canny"]["default_option"] == "canny" and types["All"]["default_model"] == "None"
    detail = client.get("/controlnet/module_list?alias_names=true").json()["module_detail"]["canny"]
    assert [slider["name"] for slider in detail["sliders"]] == ["Preprocessor Resolution", "low", "high"]
    assert client.get("/controlnet/settings").json() == {"control_net_unit_count": 3}
    person = {"pose_keypoints_2d": [value for place in range(18) for value in (60 + place, 20 + 5 * place, 1.0)]}
    document = {"people": [person], "canvas_width": 128, "canvas_height": 128}
    answer = client.post("/controlnet/render_openpose_json", json=[document]).json()
    assert images.decode(base64.b64decode(answer["images"][0]), "pose").amax() > 0.5


def test_detect_needs_what_it_needs(client: TestClient, sent: str) -> None:
    told = {"controlnet_module": "inpaint_only", "controlnet_input_images": [sent]}
    assert client.post("/controlnet/detect", json=told).status_code == 422
    answer = client.post("/controlnet/detect", json=told | {"controlnet_masks": [sent]})
    assert answer.status_code == 200
    wrong: list[dict[str, Any]] = [
        {"controlnet_input_images": []},
        {"controlnet_input_images": [sent], "controlnet_module": "magic"},
    ]
    for bad in wrong:
        assert client.post("/controlnet/detect", json=bad).status_code == 422


def test_an_inpaint_unit(client: TestClient, sent: str, disc: torch.Tensor) -> None:
    """Its mask goes with its picture."""
    assert LIMITS.pixels > disc[0].numel()
    told = unit(image=sent, mask_image=as_base64(disc), module="inpaint_only", model="None")
    assert (
        "no ControlNet for 'inpaint'" in client.post("/sdapi/v1/txt2img", json={"prompt": "x"} | told).json()["detail"]
    )


def test_only_what_is_masked(client: TestClient, disc: torch.Tensor) -> None:
    """A1111's own defaults: the mask alone is drawn, from the colours around it; a unit looks at the same part."""
    large, mask = images.resize(disc[None], (96, 64), "nearest")[0], torch.zeros(1, 64, 96)
    mask[:, 20:30, 40:50] = 1
    shared = {"init_images": [as_base64(large)], "mask": as_base64(mask), "width": 32, "height": 32, "seed": 1}
    looking = unit(module="canny", model="canny")
    drawing, info, shown = posted(client, "img2img", **shared, inpaint_full_res_padding=4, **looking)
    assert info["not_honoured"] == [] and drawing.given is not None
    assert (drawing.given.content, drawing.given.box) == ("fill", (36, 16, 54, 34))
    made = images.decode(base64.b64decode(shown[0]), "answer")[0]
    assert torch.equal(made[:, mask[0] == 0], images.from_uint8(images.to_uint8(large))[:, mask[0] == 0])
    part = images.from_uint8(images.to_uint8(large))[None, :, 16:34, 36:54]
    assert torch.equal(images.decode(base64.b64decode(shown[1]), "map")[0, :1], extract("canny", part, (32, 32))[0])
    whole, _, _ = posted(client, "img2img", **shared, inpaint_full_res=False, inpainting_fill=2, **looking)
    assert whole.given is not None and (whole.given.content, whole.given.box) == ("latent noise", None)
    uncut = unit(module="canny", model="canny", inpaint_crop_input_image=False)
    other, _, _ = posted(client, "img2img", **shared, inpaint_full_res_padding=4, **uncut)
    assert other.controls[0].map == whole.controls[0].map != drawing.controls[0].map
    black = client.post("/sdapi/v1/img2img", json={"prompt": "x", **shared, "mask": as_base64(torch.zeros(1, 64, 96))})
    assert black.status_code == 422 and "black everywhere" in black.json()["detail"]
