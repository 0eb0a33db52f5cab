"""Pictures for a style's LoRA, drawn over a world."""

from pathlib import Path

import pytest
import torch

from recipes.chalk import BOARD, PICTURES, chalk, main
from underdraw.data.folder import Record, read_folder, write_folder


def disc(index: int, split: str) -> Record:
    rows, columns = torch.arange(32)[:, None], torch.arange(32)
    picture = ((rows - 16) ** 2 + (columns - 16) ** 2 < 60 + index).float().expand(3, -1, -1).contiguous()
    return Record(
        f"{split}-{index}", picture, f"disc {index}, flat sticker", {}, {"split": split, "name_en": f"disc {index}"}
    )


def test_lines_on_a_board() -> None:
    record = disc(0, "train")
    drawn = chalk(record.image, seed=1)
    board = torch.tensor(BOARD)[:, None]
    assert drawn.shape == (3, 32, 32) and drawn.min() >= 0 and drawn.max() <= 1
    assert (drawn[:, 16, 10:20] - board).abs().max() < 0.03, "inside and outside of the disc there is only board"
    assert drawn.mean(0)[16].max() > 0.5, "and its edge is a line"
    assert torch.equal(chalk(record.image, 1), drawn) and not torch.equal(chalk(record.image, 2), drawn)


def test_a_folder_to_train_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, target = tmp_path / "world", tmp_path / "chalk"
    list(write_folder(world, [disc(i, split) for split, count in PICTURES.items() for i in range(count + 3)]))
    assert main([str(world), str(target)]) == 0
    assert f"{sum(PICTURES.values())} pictures" in capsys.readouterr().out
    for split, count in PICTURES.items():
        records = list(read_folder(target, split))
        assert len(records) == count and records[0].text == "disc 0, chalk drawing"
        assert len({record.text for record in records}) == count


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list(write_folder(tmp_path / "world", [disc(0, "train")]))
    assert main([str(tmp_path / "world"), str(tmp_path / "chalk")]) == 2
    assert "has 1 pictures of split 'train', and 60 are needed" in capsys.readouterr().err
    assert main([]) == 2 and "usage:" in capsys.readouterr().err
