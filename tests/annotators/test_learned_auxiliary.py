"""Annotators through controlnet_aux: the real package, with random weights of the real architectures."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.annotators.no_torchvision import stand_in
from tests.annotators.test_protocol import picture
from underdraw import images
from underdraw.annotators import build
from underdraw.annotators.learned import auxiliary, close_networks
from underdraw.annotators.learned.auxiliary import MULTIPLE, PUBLISHED, Auxiliary, hushed, import_auxiliary
from underdraw.annotators.learned.pose import OpenPose
from underdraw.annotators.protocol import ANNOTATORS
from underdraw.errors import CheckpointError, ConfigError, MissingExtra

HERE = all(find_spec(name) for name in ("controlnet_aux", "timm", "einops"))
HOW = "controlnet_aux is not installed: pip install --no-deps controlnet_aux==0.0.10 timm einops"
QUICK = ["softedge_hed", "softedge_pidinet", "softedge_teed", "softedge_anyline", "scribble_hed", "scribble_pidinet"]
QUICK += ["mlsd", "lineart_realistic"]
SLOW = ["lineart_anime", "normal_bae", "depth_leres", "openpose"]
ALL = [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)]
here = pytest.mark.skipif(not HERE, reason=HOW)


@pytest.fixture(scope="module")
def package() -> Iterator[ModuleType]:
    """controlnet_aux, with a stand-in for torchvision where there is none."""
    importlib.import_module("transformers").utils.is_torchvision_available()  # asked, and kept, before the stand-in
    if find_spec("torchvision"):
        yield import_auxiliary()
        return
    with stand_in():
        yield import_auxiliary()
    close_networks()


def part(name: str) -> Any:
    """`controlnet_aux.module:attribute`."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"controlnet_aux.{module}"), attribute)


def tensors(net: nn.Module) -> dict[str, Any]:
    return net.state_dict()


def parallel(net: nn.Module) -> dict[str, Any]:
    """As of a network that was trained on several devices."""
    return {f"module.{name}": value for name, value in net.state_dict().items()}


def anime() -> nn.Module:
    norm = partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    net: nn.Module = part("lineart_anime:UnetGenerator")(3, 1, 8, 64, norm_layer=norm, use_dropout=False)
    return net


def bae() -> nn.Module:
    told = {"mode": "client", "architecture": "BN", "pretrained": "scannet"}
    net: nn.Module = part("normalbae.nets.NNET:NNET")(SimpleNamespace(**told, sampling_ratio=0.4, importance_ratio=0.7))
    return net


def joiner() -> nn.Module:
    options = part("leres.pix2pix.options.test_options:TestOptions")().parse()
    options.gpu_ids = []
    net: nn.Module = part("leres.pix2pix.models.pix2pix4depth_model:Pix2Pix4DepthModel")(options).netG
    return net


def body() -> dict[str, Any]:
    """OpenPose's files name their layers without the blocks that they are in."""
    net = part("open_pose.model:bodypose_model")()
    return {name.split(".", 1)[1]: value for name, value in net.state_dict().items()}


def hand() -> dict[str, Any]:
    net = part("open_pose.model:handpose_model")()
    return {name.split(".", 1)[1]: value for name, value in net.state_dict().items()}


FILES: dict[str, Callable[[], Any]] = {
    "ControlNetHED.pth": lambda: tensors(part("hed:ControlNetHED_Apache2")()),
    "table5_pidinet.pth": lambda: {"state_dict": parallel(part("pidi.model:pidinet")())},
    "mlsd_large_512_fp32.pth": lambda: tensors(part("mlsd.models.mbv2_mlsd_large:MobileV2_MLSD_Large")()),
    "sk_model.pth": lambda: tensors(part("lineart:Generator")(3, 1, 3)),
    "sk_model2.pth": lambda: tensors(part("lineart:Generator")(3, 1, 3)),
    "5_model.pth": lambda: tensors(part("teed.ted:TED")()),
    "Anyline/MTEED.pth": lambda: tensors(part("teed.ted:TED")()),
    "netG.pth": lambda: parallel(anime()),
    "scannet.pt": lambda: {"model": parallel(bae())},
    "res101.pth": lambda: {
        "depth_model": parallel(part("leres.leres.multi_depth_model_woauxi:RelDepthModel")(backbone="resnext101"))
    },
    "latest_net_G.pth": lambda: tensors(joiner()),
    "body_pose_model.pth": body,
    "hand_pose_model.pth": hand,
    "facenet.pth": lambda: tensors(part("open_pose.face:FaceNet")()),
}


@pytest.fixture(scope="module")
def models(package: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def stored(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts random weights of a kind into a store that is in use."""
    monkeypatch.setenv("UNDERDRAW_MODELS", str(models))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    def put(kind: str) -> None:
        weights = ANNOTATORS[kind].weights  # type: ignore[attr-defined]
        for name in list(weights.sha256):
            monkeypatch.delitem(weights.sha256, name)
        for name in weights.files:
            path = models / weights.place / name
            if not path.exists():
                torch.manual_seed(len(name))
                path.parent.mkdir(parents=True, exist_ok=True)
                with hushed(), auxiliary._without_arguments():
                    torch.save(FILES[name](), path)

    return put


def quick(kind: str, **knobs: Any) -> Any:
    return build(kind, {"resolution": 64, **knobs})


@here
@pytest.mark.parametrize("kind", ALL)
class TestEveryKind:
    def test_maps_are_what_was_promised(self, kind: str, stored: Callable[[str], None]) -> None:
        stored(kind)
        meaning = ANNOTATORS[kind].meaning
        for size in ((64, 48), (33, 57), (90, 20)):
            found = quick(kind).map(picture(), size)
            assert found.shape == (1, meaning.channels, size[1], size[0])
            assert found.dtype == torch.float32
            assert meaning.low <= found.min() and found.max() <= meaning.high
            assert not meaning.binary or set(found.unique().tolist()) <= {0.0, 1.0}

    def test_nothing_else_changes(self, kind: str, stored: Callable[[str], None], capsys: Any) -> None:
        stored(kind)
        state, arguments, environment = torch.get_rng_state(), list(sys.argv), dict(os.environ)
        numbers = np.random.get_state(legacy=False)["state"]["key"].tobytes()
        close_networks()
        first = quick(kind).map(picture())
        quick(kind).map(1 - picture())
        assert torch.equal(first, quick(kind).map(picture()))
        assert torch.equal(state, torch.get_rng_state())
        assert numbers == np.random.get_state(legacy=False)["state"]["key"].tobytes()
        assert (arguments, environment) == (sys.argv, dict(os.environ))
        assert capsys.readouterr().out == ""

    def test_a_batch_gives_each_what_it_gets_alone(self, kind: str, stored: Callable[[str], None]) -> None:
        stored(kind)
        several = torch.cat([picture(40, 70), picture(40, 70).flip(-1)])
        together = quick(kind)(several)
        assert together.shape[-2:] == (40, 70)
        assert torch.equal(together, torch.cat([quick(kind)(one[None]) for one in several]))


@here
class TestDrawing:
    def test_it_is_what_the_package_draws(self, package: Any, models: Path, stored: Callable[[str], None]) -> None:
        """Where the sides are multiples of 64, at which it does not stretch."""
        stored("softedge_hed")
        pixels = images.to_uint8(picture(128, 192)[0])
        theirs = package.HEDdetector.from_pretrained(str(models / PUBLISHED.replace("/", "--")))
        for safe in (False, True):
            drawn = theirs(pixels, detect_resolution=128, image_resolution=128, safe=safe, output_type="np")
            ours = build("softedge_hed", {"safe": safe})(picture(128, 192))
            assert np.array_equal(images.to_uint8(ours[0])[..., 0], drawn[..., 0])

    def test_sides_that_are_no_multiples_are_continued_not_stretched(self, stored: Callable[[str], None]) -> None:
        stored("softedge_hed")
        whole = picture(128, 128)
        cut = quick("softedge_hed")(whole[..., :100, :])
        assert cut.shape == (1, 1, 100, 128)
        assert (cut[..., :40, :] - quick("softedge_hed")(whole)[..., :40, :]).abs().mean() < 0.02
        assert 100 % MULTIPLE != 0

    def test_knobs_reach_the_detector(self, stored: Callable[[str], None]) -> None:
        for kind in ("softedge_hed", "lineart_realistic", "mlsd", "softedge_teed"):
            stored(kind)
        assert not torch.equal(
            quick("lineart_realistic")(picture()), quick("lineart_realistic", coarse=True)(picture())
        )
        assert torch.equal(quick("lineart_coarse")(picture()), quick("lineart_realistic", coarse=True)(picture()))
        assert torch.equal(quick("softedge_hedsafe")(picture()), quick("softedge_hed", safe=True)(picture()))
        assert len(quick("softedge_hedsafe")(picture()).unique()) <= 4
        assert len(quick("softedge_teed", steps=1)(picture()).unique()) < len(
            quick("softedge_teed", steps=0)(picture()).unique()
        )
        assert quick("mlsd", length=200.0)(picture()).sum() <= quick("mlsd")(picture()).sum()

    def test_code_in_place_of_weights_is_refused(
        self, tmp_path: Path, models: Path, stored: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored("softedge_hed")
        folder = tmp_path / "store" / PUBLISHED.replace("/", "--")
        folder.mkdir(parents=True)
        torch.save({"code": Path("x")}, folder / "ControlNetHED.pth")
        monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path / "store"))
        with pytest.raises(CheckpointError, match="holds more than tensors"):
            quick("softedge_hed")(picture())
        torch.save({"other": torch.ones(3)}, folder / "ControlNetHED.pth")
        with pytest.raises(
            CheckpointError, match=r"does not hold HEDdetector's ControlNetHED.pth .*; get them again"
        ) as caught:
            quick("softedge_hed")(picture())
        assert "\n" not in str(caught.value)

    def test_the_published_digests_are_compared(
        self, models: Path, stored: Callable[[str], None], monkeypatch: Any
    ) -> None:
        stored("mlsd")
        monkeypatch.setitem(ANNOTATORS["mlsd"].weights.sha256, "mlsd_large_512_fp32.pth", "0" * 64)  # type: ignore[attr-defined]
        close_networks()
        with pytest.raises(CheckpointError, match="is not the file that was published"):
            quick("mlsd")(picture())

    @pytest.mark.slow
    def test_leres_takes_nothing_from_the_command_line(
        self, stored: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored("depth_leres")
        close_networks()
        monkeypatch.setattr(sys, "argv", ["underdraw", "--data", "x", "--model", "y"])
        found = build("depth_leres++", {"resolution": 160}).map(picture())
        assert found.min() == 0 and found.max() == 1


def test_points_of_openpose_become_pixels() -> None:
    """What the package says: shares of the picture; None, or less than 0, where a point is missing."""
    points = [SimpleNamespace(x=0.25, y=0.5), None, *[SimpleNamespace(x=-1 / 100, y=0.1)] * 16]
    hand = [SimpleNamespace(x=0.1, y=0.2)] * 21
    found = SimpleNamespace(body=SimpleNamespace(keypoints=points), left_hand=hand, right_hand=None, face=hand)
    person = OpenPose()._person(found, (200, 100))
    assert person.body[0] == (50.0, 50.0, 1.0)
    assert set(person.body[1:]) == {(0.0, 0.0, 0.0)}
    assert person.left_hand[20] == pytest.approx((20.0, 20.0, 1.0)) and person.right_hand == ()
    assert len(person.face) == 70 and person.face[21] == (0.0, 0.0, 0.0)
    faceonly: Any = build("openpose_faceonly")
    assert faceonly._person(found, (200, 100)).body == ()


def test_names_that_people_know() -> None:
    for name, kind, knobs in (
        ("softedge_hedsafe", "softedge_hed", {"safe": True}),
        ("softedge_pidisafe", "softedge_pidinet", {"safe": True}),
        ("softedge_pidsafe", "softedge_pidinet", {"safe": True}),
        ("scribble_hedsafe", "scribble_hed", {"safe": True}),
        ("lineart_coarse", "lineart_realistic", {"coarse": True}),
        ("depth_leres++", "depth_leres", {"boost": True}),
        ("openpose_full", "openpose", {"body": True, "hands": True, "face": True}),
        ("openpose_hand", "openpose", {"body": True, "hands": True, "face": False}),
        ("openpose_face", "openpose", {"body": True, "hands": False, "face": True}),
        ("openpose_faceonly", "openpose", {"body": False, "hands": False, "face": True}),
        ("oneformer_ade20k", "seg_ofade20k", {}),
        ("dwpose", "dw_openpose_full", {"hands": True, "face": True}),
    ):
        look = build(name)
        assert look.kind == kind
        assert look.settings.items() >= knobs.items()


def test_a_missing_package_is_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auxiliary, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"controlnet_aux is not installed; run: pip install 'underdraw\[aux\]'"):
        import_auxiliary()


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("import no_such_package", MissingExtra, r"no_such_package, which controlnet_aux needs, is not installed; run"),
        (
            "raise RuntimeError('operator torchvision::nms does not exist')",
            ConfigError,
            "install a torchvision that fits",
        ),
        ("import os; os.environ['KMP_DUPLICATE_LIB_OK'] = 'x'; print('loud'); 1 / 0", ConfigError, "division by zero"),
    ],
)
def test_a_package_that_cannot_be_imported_is_one_line(
    text: str, error: type[Exception], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "controlnet_aux.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "controlnet_aux"]:
        monkeypatch.delitem(sys.modules, name)
    before = dict(os.environ)
    with pytest.raises(error, match=told) as caught:
        import_auxiliary()
    assert "\n" not in str(caught.value)
    assert dict(os.environ) == before
    assert capsys.readouterr().out == ""


def test_every_kind_says_what_it_needs() -> None:
    kinds: list[Any] = [part for part in (ANNOTATORS[kind] for kind in ANNOTATORS) if issubclass(part, Auxiliary)]
    assert len(kinds) == 11
    for kind in [*kinds, OpenPose]:
        assert kind.needs.packages == ("controlnet_aux",) and kind.needs.extra == "aux"
        assert str(kind.weights) == kind.needs.weights


def test_what_leres_cannot_join_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"depth_leres: boost needs a resolution of 160 or more \(got 64\)"):
        build("depth_leres++", {"resolution": 64})
