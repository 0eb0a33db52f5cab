import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from underdraw.annotators.heads import HEADS, heatmaps
from underdraw.annotators.readers import Reader, Shape, load_reader, save_reader, shipped_reader
from underdraw.annotators.skeleton import DOTS
from underdraw.errors import CheckpointError, ConfigError

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 0, 255))
READS = ("depth", "normal", "segmentation", "pose")
CHANNELS = {"unet": (8, 16), "dilated": (16,)}
KINDS = sorted(CHANNELS)


def reader(kind: str = "unet", *reads: str) -> Reader:
    torch.manual_seed(0)
    return Reader(Shape(reads or READS, kind, CHANNELS[kind], COLOURS, "train", {"depth": {"RMSE": 0.1}})).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 57), (8, 8), (40, 130)])
def test_any_size_gives_maps_of_that_size(kind: str, height: int, width: int) -> None:
    pictures = torch.rand(2, 3, height, width)
    maps = {each: reader(kind).read(pictures, each) for each in READS}
    assert {each: tuple(found.shape) for each, found in maps.items()} == {
        each: (2, channels, height, width) for each, channels in zip(READS, (1, 3, 3, 18), strict=True)
    }
    for found in maps.values():
        assert found.min() >= 0 and found.max() <= 1
    assert_close(torch.linalg.vector_norm(2 * maps["normal"] - 1, dim=1), torch.ones(2, height, width))
    labels = (maps["segmentation"] * 255).round().movedim(1, -1).reshape(-1, 3).unique(dim=0)
    assert {tuple(colour) for colour in labels.int().tolist()} <= set(COLOURS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_picture_is_read_by_itself(kind: str) -> None:
    pictures = torch.rand(3, 3, 24, 32)
    together = reader(kind)(pictures)
    alone = [reader(kind)(each[None]) for each in pictures]
    for each, raw in together.items():
        assert_close(raw, torch.cat([one[each] for one in alone]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_picture_and_every_weight(kind: str) -> None:
    read, picture = reader(kind), torch.rand(1, 3, 24, 32, requires_grad=True)
    targets = {
        "depth": torch.rand(1, 1, 24, 32),
        "normal": torch.rand(1, 3, 24, 32),
        "segmentation": torch.zeros(1, 24, 32).long(),
        "pose": torch.rand(1, 18, 24, 32),
    }
    sum(read.meanings[each].error(raw, targets[each]).sum() for each, raw in read(picture).items()).backward()  # type: ignore[union-attr]
    assert picture.grad is not None and (picture.grad != 0).float().mean() > 0.99
    assert [name for name, each in read.named_parameters() if each.grad is None or not each.grad.any()] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_a_file_gives_the_same_reader(kind: str, dtype: torch.dtype | None, tmp_path: Path) -> None:
    save_reader(reader(kind), tmp_path / "reader.safetensors", dtype)
    loaded = load_reader(tmp_path / "reader.safetensors")
    picture = torch.rand(1, 3, 32, 32)
    assert loaded.shape == reader(kind).shape
    assert_close(loaded.read(picture, "depth"), reader(kind).read(picture, "depth"), atol=2e-3 if dtype else 0, rtol=0)
    assert not loaded.training and not any(each.requires_grad for each in loaded.parameters())


def test_files_that_are_no_reader_are_named(tmp_path: Path) -> None:
    path = tmp_path / "reader.safetensors"
    save_reader(reader(), path)
    whole = path.read_bytes()
    for broken in (whole[:1000], whole[: len(whole) // 2], b"", b"words"):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"cannot read reader .*reader.safetensors") as caught:
            load_reader(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"cannot read reader .*none"):
        load_reader(tmp_path / "none")
    path.write_bytes(whole.replace(b"[8, 16]", b"[8, 24]"))
    with pytest.raises(CheckpointError, match="cannot read reader"):
        load_reader(path)


@pytest.mark.parametrize("said", [{}, {"reader": json.dumps({"kind": "depth", "channels": [8]})}])
def test_other_weights_do_not_say_what_they_read(said: dict[str, str], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors", said)
    with pytest.raises(CheckpointError, match="is not a reader"):
        load_reader(tmp_path / "other.safetensors")


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigError, match="must know its labels' colours"):
        Reader(Shape(("segmentation",), channels=(8,)))
    with pytest.raises(ConfigError, match="unet"):
        Reader(Shape(("depth",), "unnet", (8,)))


def test_errors_are_nothing_for_what_was_asked_and_something_for_the_rest() -> None:
    """Of each head: raw values that say the map, and the same turned round."""
    labels = torch.tensor(COLOURS).float()[torch.arange(64).view(1, 8, 8) % 3].movedim(-1, 1) / 255
    normals = torch.nn.functional.normalize(torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    depth = torch.linspace(0.1, 0.9, 64).view(1, 1, 8, 8)
    points = torch.zeros(1, 1, 18, 3)
    points[0, 0, :, :2], points[..., 2] = torch.arange(36).view(18, 2) % 7 + 0.5, 2
    cases = {
        "depth": (depth.logit(), depth.expand(-1, 3, -1, -1)),
        "normal": (normals, (normals + 1) / 2),
        "segmentation": (
            20 * torch.nn.functional.one_hot(torch.arange(64).view(1, 8, 8) % 3).movedim(-1, 1).float(),
            labels,
        ),
    }
    for kind, (raw, maps) in cases.items():
        head = HEADS[kind](COLOURS)
        target = head.target(maps)
        assert head.error(raw, target).item() < 1e-6 < 0.01 < head.error(-raw, target).item(), kind
        assert_close(head.map(raw), maps[:, : head.map(raw).shape[1]], atol=1e-5, rtol=0)
    head, heat = HEADS["pose"](()), heatmaps(points, (8, 8))
    sure = (40 * (heat - 0.5)).clamp(-20, 20)
    assert head.error(sure, heat).item() < 0.5 * head.error(-sure, heat).item()


def test_a_drawn_skeleton_says_where_points_are() -> None:
    """As the points themselves would: a bell for each disc."""
    skeleton = torch.zeros(1, 3, 24, 24)
    for place, (row, column) in {3: (5, 6), 9: (15, 16)}.items():
        skeleton[0, :, row - 1 : row + 2, column - 1 : column + 2] = torch.tensor(DOTS[place])[:, None, None] / 255
    heat = HEADS["pose"](()).target(skeleton)
    assert heat.shape == (1, 18, 24, 24)
    assert divmod(int(heat[0, 3].argmax()), 24) == (5, 6) and divmod(int(heat[0, 9].argmax()), 24) == (15, 16)
    assert heat[0, 3].max() == 1 and heat[0, 3, 15, 16] < 1e-3
    assert not heat[0, [k for k in range(18) if k not in (3, 9)]].any()


def test_the_ordinary_readers_are_small(tmp_path: Path) -> None:
    """In half precision well under a megabyte, so that they could ship."""
    for kind, channels in (("unet", (16, 32, 48)), ("dilated", (32,))):
        torch.manual_seed(0)
        save_reader(Reader(Shape(READS, kind, channels, COLOURS)), tmp_path / kind, torch.float16)
        assert (tmp_path / kind).stat().st_size < 800_000


def test_a_reader_that_does_not_ship_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("underdraw.annotators.readers.SHIPPED", tmp_path)
    assert shipped_reader("judge") is None
    save_reader(reader(), tmp_path / "judge.safetensors")
    assert shipped_reader("judge") == tmp_path / "judge.safetensors"
    assert asdict(load_reader(tmp_path / "judge.safetensors").shape)["errors"] == {"depth": {"RMSE": 0.1}}
