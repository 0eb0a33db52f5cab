"""Annotators of the transformers library, with small networks of the real architectures in a store of their own."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from tests.annotators import small_networks as small
from tests.annotators.test_protocol import picture
from underdraw import images
from underdraw.annotators import build, extract
from underdraw.annotators.depth import nearness, stretch
from underdraw.annotators.learned import Weights, close_networks
from underdraw.annotators.learned.depth import ANYTHING, ANYTHING_V2, DEPTH, MIDAS, ZOE, nearness_field
from underdraw.annotators.learned.networks import Learned, Network, TransformersFolder, open_once
from underdraw.annotators.learned.pose import DETECTORS, POINTS, VITPOSE, _bodies, body_from_coco
from underdraw.annotators.learned.segmentation import (
    DEEPLAB,
    MASK2FORMER,
    ONEFORMER,
    ONEFORMER_COCO,
    SEGFORMER,
    UPERNET,
)
from underdraw.annotators.palettes import PALETTES
from underdraw.annotators.protocol import ANNOTATORS, draw_knobs, knobs
from underdraw.errors import CheckpointError, ConfigError, MissingExtra

CPU = torch.device("cpu")
STORE: list[tuple[Weights, Callable[[Path], Path]]] = [
    (MIDAS["hybrid"], small.dpt_hybrid),
    (MIDAS["large"], small.dpt),
    (ANYTHING["small"], small.depth_anything),
    (ANYTHING_V2["small"], small.depth_anything),
    (ZOE["both"], small.zoe),
    (SEGFORMER["b0"], small.segformer),
    (UPERNET["small"], small.upernet),
    (MASK2FORMER["tiny"], small.mask2former),
    (ONEFORMER["tiny"], small.oneformer),
    (ONEFORMER_COCO["large"], lambda folder: small.oneformer(folder, 133)),
    (DEEPLAB["mobilenet"], small.mobilenet),
    (DEEPLAB["mobilevit"], small.mobilevit),
    (VITPOSE["base"], small.vitpose),
    (VITPOSE["plus_base"], lambda folder: small.vitpose(folder, experts=6)),
    (DETECTORS["rtdetr"], small.rtdetr),
]
SURE = {"surety": 0.01, "visibility": 0.0}
KINDS: dict[str, dict[str, Any]] = {
    "depth_midas": {},
    "depth_anything": {},
    "depth_anything_v2": {},
    "depth_zoe": {},
    "normal_midas": {},
    "seg_segformer": {},
    "seg_upernet": {},
    "seg_mask2former": {},
    "seg_ofade20k": {},
    "seg_ofcoco": {},
    "seg_deeplab": {},
    "pose_vitpose": SURE,
}
OTHERS = [("depth_midas", "large"), ("seg_deeplab", "mobilevit"), ("pose_vitpose", "plus_base")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with a small network in the place of each published one."""
    root = tmp_path_factory.mktemp("models")
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    for weights, make in STORE:
        small.put(root, weights, make)
    if shown:
        transformers.utils.logging.enable_progress_bar()
    yield root
    close_networks()


@pytest.fixture(autouse=True)
def stored(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store in use, and nothing else in reach."""
    monkeypatch.setenv("UNDERDRAW_MODELS", str(models))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("UNDERDRAW_DOWNLOAD", raising=False)
    for weights, _ in STORE:
        for name in list(weights.sha256):  # of the published files, which these are not
            monkeypatch.delitem(weights.sha256, name)
    return models


def quick(kind: str, knobs: dict[str, Any] | None = None) -> Any:
    """The annotator of that kind, which looks at small pictures here."""
    return build(kind, {"resolution": 64} | KINDS[kind] | (knobs or {}))


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    @pytest.mark.parametrize("size", [(64, 48), (33, 57), (16, 16), (90, 20)])
    def test_a_map_has_the_size_and_range_that_were_promised(self, kind: str, size: tuple[int, int]) -> None:
        found = quick(kind).map(picture(), size)
        meaning = ANNOTATORS[kind].meaning
        assert found.shape == (1, meaning.channels, size[1], size[0])
        assert found.dtype == torch.float32
        assert meaning.low <= found.min() and found.max() <= meaning.high

    def test_the_same_picture_gives_the_same_map_whatever_came_before(self, kind: str) -> None:
        state = torch.get_rng_state()
        before = quick(kind).map(picture())
        quick(kind).map(1 - picture())
        close_networks()
        assert torch.equal(before, quick(kind).map(picture()))
        assert torch.equal(state, torch.get_rng_state())

    def test_pictures_matter(self, kind: str) -> None:
        other = picture(seed=3).flip(-1, -2)
        assert not torch.equal(quick(kind).map(picture()), quick(kind).map(other))

    def test_a_batch_gives_each_what_it_gets_alone(self, kind: str) -> None:
        several = torch.cat([picture(64, 80), picture(64, 80).flip(-1)])
        together = quick(kind)(several)
        assert torch.equal(together, torch.cat([quick(kind)(one[None]) for one in several]))
        assert not together.requires_grad
        assert not quick(kind)(several[:1].requires_grad_()).requires_grad

    def test_its_colours_are_those_of_its_palette(self, kind: str) -> None:
        palette = ANNOTATORS[kind].meaning.palette
        if palette is not None:
            shown = images.to_uint8(quick(kind).map(picture())[0]).reshape(-1, 3)
            assert {tuple(colour) for colour in shown.tolist()} <= {*palette, (0, 0, 0)}

    def test_it_says_what_it_needs(self, kind: str) -> None:
        needs = ANNOTATORS[kind].needs
        assert not needs.packages and "MB)" in needs.weights


LEARNED = [kind for kind in ANNOTATORS if issubclass(ANNOTATORS[kind], Learned)]


@pytest.mark.parametrize("kind", LEARNED)
class TestEveryValue:
    """What every annotator's test asks of its class, of those that it cannot ask for a map."""

    def test_is_a_value(self, kind: str) -> None:
        assert build(kind) == build(kind)
        assert hash(build(kind)) == hash(build(kind))
        with pytest.raises(dataclasses.FrozenInstanceError):
            build(kind).resolution = 3  # type: ignore[misc]

    def test_is_filed_under_its_name_and_described(self, kind: str) -> None:
        part = ANNOTATORS[kind]
        paragraphs = (part.__doc__ or "").split("\n\n")
        assert part.kind == kind and len(paragraphs) == 2 and part.__doc__ != part.__base__.__doc__
        assert part.meaning.polarity and part.needs.weights
        assert all(setting.help and setting.low <= setting.high for setting in knobs(part).values())

    def test_knobs_are_fields_with_defaults_in_range(self, kind: str) -> None:
        assert build(kind).settings == {name: setting.default for name, setting in knobs(ANNOTATORS[kind]).items()}
        drawn = [draw_knobs(kind, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1]

    def test_a_missing_weight_is_one_line(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path))
        needs = ANNOTATORS[kind].needs
        if not all(map(find_spec, needs.packages)):
            with pytest.raises(MissingExtra, match=r"pip install 'underdraw\[aux\]'"):
                build(kind).map(picture())
            return
        with pytest.raises(CheckpointError, match="allow its download") as caught:
            build(kind).map(picture())
        said, _, _ = str(caught.value).partition(", which is not there")
        assert said.removeprefix(f"{kind} needs ") in needs.weights.split(" and ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "model"), OTHERS)
def test_other_published_models_are_drawn_too(kind: str, model: str) -> None:
    assert quick(kind, {"model": model}).map(picture()).shape[-2:] == (48, 64)


class TestOpening:
    def test_a_network_is_opened_once(self, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = open_once(DEPTH, stored / MIDAS["large"].place, CPU)
        quick("depth_midas", {"model": "large"}).map(picture())
        assert open_once(DEPTH, stored / MIDAS["large"].place, CPU) is first

    def test_a_changed_file_is_opened_again(self, stored: Path, tmp_path: Path) -> None:
        folder = tmp_path / "one"
        shutil.copytree(stored / MIDAS["large"].place, folder)
        look = quick("depth_midas", {"model": str(folder)})
        before = look.map(picture())
        tensors = load_file(folder / "model.safetensors")
        save_file({name: -value for name, value in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
        assert not torch.equal(before, look.map(picture()))

    def test_a_file_that_is_not_the_published_one_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(MIDAS["hybrid"].sha256, "config.json", "0" * 64)
        with pytest.raises(CheckpointError, match=r"config.json is not the file that was published"):
            quick("depth_midas").map(picture())

    def test_a_missing_weight_says_what_goes_where(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path))
        with pytest.raises(CheckpointError) as caught:
            extract("depth_anything_v2", picture())
        line = str(caught.value)
        assert "depth_anything_v2 needs depth-anything/Depth-Anything-V2-Small-hf (Apache-2.0, 99 MB)" in line
        assert str(tmp_path / "depth-anything--Depth-Anything-V2-Small-hf") in line
        assert "\n" not in line

    def test_a_folder_may_be_named_instead_of_a_model(self, stored: Path) -> None:
        folder = stored / MIDAS["large"].place
        assert torch.equal(
            quick("depth_midas", {"model": str(folder)}).map(picture()),
            quick("depth_midas", {"model": "large"}).map(picture()),
        )

    def test_a_name_that_is_neither_says_what_it_may_be(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"'model' must be one of hybrid, large, .*, or a folder .*'lagre'"):
            build("depth_midas", {"model": "lagre"})
        with pytest.raises(CheckpointError, match="is not a folder; give a folder in transformers' layout"):
            quick("depth_midas", {"model": str(tmp_path / "none")}).map(picture())
        with pytest.raises(CheckpointError, match=r"has no config.json"):
            quick("depth_midas", {"model": str(tmp_path)}).map(picture())

    def test_a_pickle_of_tensors_is_read_and_one_of_code_is_not(self, stored: Path, tmp_path: Path) -> None:
        folder = tmp_path / "one"
        shutil.copytree(stored / MIDAS["large"].place, folder)
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(tensors, folder / "pytorch_model.bin")
        look = quick("depth_midas", {"model": str(folder)})
        assert_close(look.map(picture()), quick("depth_midas", {"model": "large"}).map(picture()))
        torch.save(tensors | {"more": Path("x")}, folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="holds more than tensors"):
            look.map(picture())

    def test_what_is_never_used_may_be_missing(self, stored: Path, tmp_path: Path) -> None:
        """DPT's published files leave out a residual layer that has no residual."""
        look = self._without("fusion_stage.layers.0.residual_layer1", stored, tmp_path)
        assert torch.equal(look.map(picture()), quick("depth_midas", {"model": "large"}).map(picture()))

    def test_what_is_used_may_not(self, stored: Path, tmp_path: Path) -> None:
        look = self._without("head.head.0", stored, tmp_path)
        with pytest.raises(CheckpointError, match=r"lacks 2 tensors \(head.head.0.bias, head.head.0.weight …\)"):
            look.map(picture())

    def _without(self, part: str, stored: Path, tmp_path: Path) -> Any:
        folder = tmp_path / "one"
        shutil.copytree(stored / MIDAS["large"].place, folder)
        tensors = load_file(folder / "model.safetensors")
        kept = {name: value for name, value in tensors.items() if part not in name}
        assert len(kept) < len(tensors)
        save_file(kept, folder / "model.safetensors", {"format": "pt"})
        return quick("depth_midas", {"model": str(folder)})

    def test_another_kind_of_model_is_one_line(self, stored: Path) -> None:
        with pytest.raises(CheckpointError, match="cannot be opened") as caught:
            quick("depth_midas", {"model": str(stored / VITPOSE["base"].place)}).map(picture())
        assert "\n" not in str(caught.value)

    def test_the_library_speaks_again_afterwards(self) -> None:
        level = transformers.utils.logging.get_verbosity()
        shown = transformers.utils.logging.is_progress_bar_enabled()
        quick("depth_midas").map(picture())
        assert transformers.utils.logging.get_verbosity() == level
        assert transformers.utils.logging.is_progress_bar_enabled() == shown


class TestDepth:
    @pytest.mark.parametrize("weights", [MIDAS["hybrid"], MIDAS["large"], ANYTHING_V2["small"]])
    def test_it_is_what_the_library_says(self, stored: Path, weights: Weights) -> None:
        """Its own processor for pictures, its own rule for the size of what comes out."""
        folder = stored / weights.place
        network = open_once(DEPTH, folder, CPU)
        pixels = images.to_uint8(picture(61, 90)[0])
        processor = transformers.AutoImageProcessor.from_pretrained(str(folder), backend="pil")
        with torch.no_grad():
            said = network.model(**processor(images=pixels, return_tensors="pt"))
            (theirs,) = processor.post_process_depth_estimation(said, target_sizes=[(61, 90)])
            assert_close(nearness_field(network, picture(61, 90))[0, 0], theirs["predicted_depth"], rtol=0, atol=0)

    def test_near_is_white_and_far_is_black(self) -> None:
        found = quick("depth_anything").map(picture(61, 90), (45, 45))
        assert found.min() == 0 and found.max() == 1

    def test_the_frame_that_zoe_puts_around_pictures_is_taken_off(self, stored: Path) -> None:
        network = open_once(DEPTH, stored / ZOE["both"].place, CPU)
        seen = picture(64, 96)
        pixels = images.to_uint8(seen[0])
        bordered = network.processor.pad_image(pixels.transpose(2, 0, 1))
        down, across = (bordered.shape[1] - 64) // 2, (bordered.shape[2] - 96) // 2
        assert (down, across) == (16, 20)
        with torch.no_grad():
            said = network.model(**network.prepare(seen)).predicted_depth[None]
            whole = functional.interpolate(said, bordered.shape[1:], mode="bicubic", align_corners=False)
            assert torch.equal(nearness_field(network, seen), whole[..., down:-down, across:-across])

    def test_metres_become_nearness(self, stored: Path, tmp_path: Path) -> None:
        network = open_once(DEPTH, stored / ZOE["both"].place, CPU)
        seen = picture(64, 64)
        with torch.no_grad():
            metres = nearness_field(network, seen)
        assert torch.equal(quick("depth_zoe")(seen), nearness(metres))
        linear = quick("depth_zoe", {"scale": "linear"})(seen)
        low, high = torch.quantile(metres, torch.tensor([0.02, 0.85]))
        assert_close(linear, ((high - metres) / (high - low)).clamp(0, 1), rtol=1e-4, atol=1e-5)
        torch.manual_seed(0)
        folder = small.depth_anything(tmp_path / "metric", "metric")
        network = open_once(DEPTH, folder, CPU)
        with torch.no_grad():
            metres = nearness_field(network, seen)
        assert torch.equal(quick("depth_anything_v2", {"model": str(folder)})(seen), nearness(metres))

    def test_normals_are_slopes_of_the_same_field(self, stored: Path) -> None:
        seen = picture(64, 64)
        with torch.no_grad():
            field = nearness_field(open_once(DEPTH, stored / MIDAS["hybrid"].place, CPU), seen)
        theirs = build("normal", {"convention": "midas", "relief": 0.0, "bg_threshold": 0.2})(field)
        assert torch.equal(quick("normal_midas", {"bg_threshold": 0.2})(seen), theirs)
        assert stretch(field).std() > 0


class TestSegmentation:
    def test_classes_are_those_of_the_library_in_the_published_colours(self, stored: Path) -> None:
        folder = stored / SEGFORMER["b0"].place
        model = transformers.SegformerForSemanticSegmentation.from_pretrained(folder)
        processor = transformers.AutoImageProcessor.from_pretrained(str(folder), backend="pil")
        pixels = images.to_uint8(picture(61, 90)[0])
        with torch.no_grad():
            said = model(**processor(images=pixels, return_tensors="pt"))
        ids = processor.post_process_semantic_segmentation(said, target_sizes=[(61, 90)])[0]
        colours = torch.tensor(PALETTES["ade20k"].colours)[ids]
        assert len(ids.unique()) > 1
        assert torch.equal(quick("seg_segformer")(picture(61, 90))[0].permute(1, 2, 0) * 255, colours.float())

    def test_things_of_voc_are_drawn_as_ade20ks(self, stored: Path, tmp_path: Path) -> None:
        folder = tmp_path / "one"
        shutil.copytree(stored / DEEPLAB["mobilenet"].place, folder)
        tensors = load_file(folder / "model.safetensors")
        head = next(name for name in tensors if name.endswith("classifier.convolution.bias"))
        for place, colour in ((15, (150, 5, 61)), (7, (0, 102, 200)), (8, (255, 0, 122)), (0, (0, 0, 0))):
            tensors[head] = torch.full((21,), -1e4)
            tensors[head][place] = 1e4
            save_file(tensors, folder / "model.safetensors", {"format": "pt"})
            found = quick("seg_deeplab", {"model": str(folder)}).map(picture())
            assert {tuple(pixel) for pixel in images.to_uint8(found[0]).reshape(-1, 3).tolist()} == {colour}

    def test_no_border_is_cut_off(self, stored: Path, tmp_path: Path) -> None:
        folder = tmp_path / "one"
        shutil.copytree(stored / DEEPLAB["mobilenet"].place, folder)
        page = folder / "preprocessor_config.json"
        page.write_text(json.dumps(json.loads(page.read_text()) | {"do_center_crop": True}))
        assert torch.equal(
            quick("seg_deeplab", {"model": str(folder)}).map(picture()), quick("seg_deeplab").map(picture())
        )

    def test_a_network_of_other_classes_is_refused(self, tmp_path: Path) -> None:
        folder = small.segformer(tmp_path / "city", 19)
        with pytest.raises(CheckpointError, match="knows 19 classes; ade20k has 150"):
            quick("seg_segformer", {"model": str(folder)}).map(picture())

    def test_oneformer_is_told_its_task_without_asking_the_hub(self, stored: Path) -> None:
        assert "class_info_file" in (stored / ONEFORMER["tiny"].place / "preprocessor_config.json").read_text()
        network = open_once(ANNOTATORS["seg_ofade20k"].opener, stored / ONEFORMER["tiny"].place, CPU)  # type: ignore[attr-defined]
        assert network.model.task.shape == (1, 77)
        assert 5 < int((network.model.task > 0).sum()) < 40
        folder = stored / ONEFORMER["tiny"].place
        processor = transformers.OneFormerProcessor(
            network.processor, transformers.CLIPTokenizer.from_pretrained(folder)
        )
        theirs = processor(images=[images.to_uint8(picture()[0])], task_inputs=["semantic"], return_tensors="pt")
        assert torch.equal(network.model.task, theirs["task_inputs"])

    def test_a_missing_tokenizer_is_one_line(self, stored: Path, tmp_path: Path) -> None:
        folder = tmp_path / "one"
        shutil.copytree(stored / ONEFORMER["tiny"].place, folder)
        for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink(missing_ok=True)
        with pytest.raises(CheckpointError, match="has no tokenizer"):
            quick("seg_ofade20k", {"model": str(folder)}).map(picture())


class Bright(nn.Module):
    """A pose network of one idea: point k is where colour k % 3 is brightest."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(backbone_config=SimpleNamespace(num_experts=1))

    def forward(self, pixel_values: Tensor) -> Any:
        fine = functional.avg_pool2d(pixel_values.clamp(min=-2) + 2, 4)
        return SimpleNamespace(heatmaps=fine[:, torch.arange(17) % 3])


class TestPose:
    def test_points_come_back_where_they_are(self) -> None:
        """A picture with a red, a green and a blue spot; through the library's own warp and decoding."""
        seen = torch.zeros(1, 3, 240, 320)
        spots = [(100.0, 60.0), (130.0, 110.0), (90.0, 160.0)]
        down, across = torch.meshgrid(torch.arange(240.0), torch.arange(320.0), indexing="ij")
        for colour, (x, y) in enumerate(spots):
            seen[0, colour] = torch.exp(-((across - x) ** 2 + (down - y) ** 2) / 72)
        network = Network(Bright(), transformers.VitPoseImageProcessorPil(), (), Path())
        (body,) = _bodies(network, seen, [[60.0, 20.0, 110.0, 180.0]], 0.0)
        # nose, left eye, right eye are red, green, blue; the neck lies between the shoulders (blue and red)
        for place, (x, y) in ((0, spots[0]), (15, spots[1]), (14, spots[2]), (5, spots[2]), (2, spots[0])):
            assert body[place][:2] == pytest.approx((x, y), abs=1.5)
        assert body[1][:2] == pytest.approx((95.0, 110.0), abs=1.5)

    def test_the_neck_is_half_way_if_both_shoulders_are_there(self) -> None:
        points = [(float(place), 2.0 * place, 0.5 + place / 100) for place in range(17)]
        body = body_from_coco(points)
        assert len(body) == 18
        assert body[1] == pytest.approx((5.5, 11.0, 0.55))
        assert body[2] == points[6] and body[5] == points[5] and body[16] == points[4]
        points[5] = (0.0, 0.0, 0.0)
        assert body_from_coco(points)[1] == (0.0, 0.0, 0.0)

    def test_people_are_found_in_pixels_of_the_drawing(self) -> None:
        look = quick("pose_vitpose", {"resolution": 0})
        poses = look.find(picture(96, 128), (64, 48))
        assert poses.canvas == (64, 48)
        assert 0 < len(poses.people) <= 6
        assert all(-64 <= x <= 128 and -48 <= y <= 96 for one in poses.people for x, y, _ in one.points)
        assert len(quick("pose_vitpose", {"crowd": 2}).find(picture()).people) == 2
        assert quick("pose_vitpose", {"surety": 1.0}).find(picture()).people == ()
        assert quick("pose_vitpose", {"surety": 1.0}).map(picture()).max() == 0

    def test_limbs_are_as_wide_as_they_are_asked_for_at_any_size(self) -> None:
        thin, thick = (quick("pose_vitpose", {"stick": stick}).map(picture(), (96, 72)).amax(1) for stick in (1, 4))
        assert 0 < (thin > 0).sum() < (thick > 0).sum()

    def test_a_detector_may_be_a_folder_too(self, stored: Path) -> None:
        folder = str(stored / DETECTORS["rtdetr"].place)
        assert torch.equal(
            quick("pose_vitpose", {"detector": folder}).map(picture()), quick("pose_vitpose").map(picture())
        )

    def test_both_kinds_of_network_are_opened(self, stored: Path) -> None:
        assert isinstance(POINTS, TransformersFolder)
        assert open_once(POINTS, stored / VITPOSE["plus_base"].place, CPU).model.config.backbone_config.num_experts == 6


class TestSizes:
    @pytest.mark.parametrize("size", [(64, 48), (512, 512), (700, 4000), (8, 4096), (6000, 4000)])
    def test_pictures_are_looked_at_in_bounded_sizes(self, size: tuple[int, int]) -> None:
        look = build("depth_midas")
        width, height = look.native(size)
        framed = max(width, height / 4), max(height, width / 4)
        assert framed[0] * framed[1] <= 1.01 * 2048 * 2048
        assert min(framed) >= 0.99 * 384
        if max(size) <= 2048:
            assert min(width, height) >= min(size)
        assert width / height == pytest.approx(size[0] / size[1], rel=0.02)

    def test_slim_pictures_are_continued_and_cut_again(self) -> None:
        assert quick("depth_midas")(picture(8, 200)).shape == (1, 1, 8, 200)
        assert quick("depth_anything")(picture(200, 8)).shape == (1, 1, 200, 8)
