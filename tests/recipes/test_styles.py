"""Pictures for a style's LoRA, drawn over worlds."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from recipes.styles import PICTURES, STYLES, main
from underdraw.data.folder import Record, read_folder, write_folder


def disc(index: int, split: str) -> Record:
    rows, columns = torch.arange(32)[:, None], torch.arange(32)
    picture = ((rows - 16) ** 2 + (columns - 16) ** 2 < 60 + index).float().expand(3, -1, -1).contiguous()
    return Record(
        f"{split}-{index}", picture, f"disc {index}, flat sticker", {}, {"split": split, "name_en": f"disc {index}"}
    )


def painted(style: str, seed: int = 1) -> Tensor:
    return STYLES[style][1](disc(0, "train").image, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("style", STYLES)
def test_edges_are_lines_on_a_ground(style: str) -> None:
    """Across the disc: its edge stands out of what is inside it and outside of it."""
    drawn = painted(style)
    assert drawn.shape == (3, 32, 32) and drawn.min() > -0.1 and drawn.max() < 1.1
    across = drawn.mean(0)[14]
    inside, outside, edge = across[13:16].median(), across[2:5].median(), across[7:11]
    assert (edge - inside).abs().max() > 0.3 and (edge - outside).abs().max() > 0.15
    assert torch.equal(painted(style), drawn) and not torch.equal(painted(style, 2), drawn)


def test_the_styles_differ() -> None:
    means = torch.stack([painted(style).mean((1, 2)) for style in STYLES])
    assert torch.pdist(means).min() > 0.1


def test_a_folder_to_train_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worlds, target = [tmp_path / "one", tmp_path / "two"], tmp_path / "ink"
    for world in worlds:
        list(write_folder(world, [disc(i, split) for split, count in PICTURES.items() for i in range(count // 2 + 3)]))
    assert main(["ink", *map(str, worlds), str(target)]) == 0
    assert f"{sum(PICTURES.values())} pictures" in capsys.readouterr().out
    for split, count in PICTURES.items():
        records = list(read_folder(target, split))
        assert len(records) == count and records[0].text == records[count // 2].text == "disc 0, ink drawing"


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list(write_folder(tmp_path / "world", [disc(0, "train")]))
    assert main(["chalk", str(tmp_path / "world"), str(tmp_path / "chalk")]) == 2
    assert "has 1 pictures of split 'train', and 60 are needed" in capsys.readouterr().err
    assert main([]) == 2 and main(["oil", "world", "target"]) == 2 and "usage:" in capsys.readouterr().err
