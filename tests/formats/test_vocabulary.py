"""CLIP's vocabulary: the published words, to the byte, from the merges that ship."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from underdraw.errors import CheckpointError
from underdraw.formats.vocabulary import (
    MERGES,
    clip_tokenizer,
    clip_vocabulary,
    is_clip,
    open_tokenizer,
    write_tokenizer,
)

from .tiny import tokenizer

PUBLISHED = {
    "merges.txt": "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
}


def test_it_is_the_published_one() -> None:
    """merges.txt to the byte as it lies in openai/clip-vit-large-patch14, and 49,408 words."""
    assert hashlib.sha256(gzip.decompress(MERGES.read_bytes())).hexdigest() == PUBLISHED["merges.txt"]
    words, merges = clip_vocabulary()
    assert (len(words), len(merges)) == (49408, 48894)
    assert sorted(words.values()) == list(range(49408))
    assert [words[each] for each in ("!", "cat</w>", "<|startoftext|>", "<|endoftext|>")] == [0, 2368, 49406, 49407]


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("A  photo\nof a CAT", [320, 1125, 539, 320, 2368]),
        ("an astronaut riding a horse", [550, 18376, 6765, 320, 4558]),
        ("", []),
    ],
)
def test_prompts_have_the_known_numbers(prompt: str, ids: list[int]) -> None:
    assert tokenizer("<|endoftext|>")(prompt).input_ids == [49406, *ids, 49407]


def test_each_family_fills_up_with_its_own_token() -> None:
    for pad, number in (("<|endoftext|>", 49407), ("!", 0)):
        padded = tokenizer(pad)("cat", padding="max_length", max_length=5).input_ids
        assert padded == [49406, 2368, 49407, number, number]


def test_a_written_tokenizer_comes_back_and_old_readers_find_their_files(tmp_path: Path) -> None:
    write_tokenizer(tokenizer("!"), tmp_path)
    again = open_tokenizer(tmp_path)
    assert is_clip(again)
    assert again.pad_token_id == 0
    assert json.loads((tmp_path / "vocab.json").read_text()) == clip_vocabulary()[0]
    assert len((tmp_path / "merges.txt").read_text().splitlines()) == 48895


def test_new_words_do_not_reach_other_tokenizers() -> None:
    learned = clip_tokenizer()
    learned.add_tokens(["<my-cat>"])
    assert not is_clip(learned)
    assert is_clip(clip_tokenizer())


def test_a_folder_without_words(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not hold a CLIP tokenizer"):
        open_tokenizer(tmp_path)
