from pathlib import Path

import pytest
import torch

from underdraw.data.captions import check_template, load_captioner, told
from underdraw.data.sources.entries import Bytes, Entry
from underdraw.errors import CheckpointError, ConfigError

ENTRY = Entry("toys/red-ball_012.png", Bytes(b""), texts=("a ball", "ein Ball"), attributes={"kind": "toy", "box": [1]})


@pytest.mark.parametrize(
    ("template", "captions"),
    [
        ("{text}", ("a ball", "ein Ball")),
        ("{name}", ("red ball",)),
        ("photo of {text}, {kind}", ("photo of a ball, toy", "photo of ein Ball, toy")),
        ("{folder}", ("toys",)),
        ("always   this", ("always this",)),
    ],
)
def test_templates(template: str, captions: tuple[str, ...]) -> None:
    assert told(ENTRY, template) == (captions, [])


def test_a_field_that_is_missing_leaves_the_caption_empty() -> None:
    entry = Entry("a.png", Bytes(b""), attributes={"kind": ""})
    for template in ("{text}", "a {kind}", "{box}"):
        captions, problems = told(entry, template)
        assert captions == () and [problem.what for problem in problems] == ["caption is empty"]


def test_templates_are_checked_first() -> None:
    check_template("{text} {kind} {name}", [Entry("b.png", Bytes(b"")), ENTRY])
    with pytest.raises(ConfigError, match="no picture has 'knid'; did you mean 'kind'"):
        check_template("{knid}", [ENTRY])
    with pytest.raises(ConfigError, match="no picture has 'box'"):
        check_template("{box}", [ENTRY])
    with pytest.raises(ConfigError, match="is not a template"):
        check_template("{", [ENTRY])


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[BOS]", "red", "blue", "green", "disc", "square", "on", "white", "black"]


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BLIP in transformers' layout."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BlipConfig, BlipForConditionalGeneration, PreTrainedTokenizerFast
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    folder = tmp_path_factory.mktemp("blip")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": 4, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = small | ends | {"vocab_size": len(WORDS), "encoder_hidden_size": 16, "projection_dim": 16}
    config = BlipConfig(text_config=text, vision_config=small | {"image_size": 32, "patch_size": 16})
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[BOS]", "eos_token": "[SEP]"}
    BlipForConditionalGeneration(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_a_captioner_is_a_model_in_a_folder(captioner: Path) -> None:
    write = load_captioner(str(captioner))
    picture = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    caption = write(picture)
    assert caption == write(picture) and set(caption.split()) <= set(WORDS[5:])


def test_a_captioner_is_not_fetched_without_consent(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--download"):
        load_captioner("someone/captioner")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_captioner(str(tmp_path))
