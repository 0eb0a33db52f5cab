"""Prompts with weights, learned words and any length, as towers hear them."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor
from torch.testing import assert_close

from underdraw.errors import ConfigError, InputError
from underdraw.model import Embedding, Part, Prompt, Text, alike, predict
from underdraw.model.prompts import BACKTRACK, Token, encode, split

from .test_backbone import text_encoder, tokenizer

ROOM, COMMA = 10, 7
TOKENIZER = tokenizer()
TOKENIZER.model_max_length = ROOM + 2


def tower(width: int = 16, projected: bool = False) -> Any:
    made = text_encoder(width, projected, ROOM + 2).requires_grad_(False)
    for name, each in made.named_parameters():
        if "norm" in name:  # as training leaves them: behind new ones every mean is zero
            each += 0.3 + 0.2 * torch.randn(each.shape)
    return made


ONE, TWO = (tower(),), (tower(24), tower(32, projected=True))


def whole(*sections: tuple[Part, ...]) -> Prompt:
    return Prompt(sections)


def words(text: str) -> Prompt:
    """Any length, without weights."""
    return whole((Part(text),))


def heard(*prompts: Prompt, clip_skip: int = 1, towers: tuple[Any, ...] = ONE) -> Text:
    return encode(towers, [TOKENIZER] * len(towers), prompts, clip_skip)


def stock(text: str, encoder: Any = ONE[0]) -> Any:
    """What transformers gives for one chunk."""
    ids = TOKENIZER([text], padding="max_length", max_length=ROOM + 2, truncation=True, return_tensors="pt").input_ids
    return encoder(ids, output_hidden_states=True)


@settings(max_examples=30, deadline=None)
@given(some.lists(some.text(max_size=30), min_size=1, max_size=3))
def test_words_alone_are_heard_as_ever(texts: list[str]) -> None:
    """Literal prompts, to the bit: the tokenizer's own padding and cutting, and the tower's last layer."""
    ids = TOKENIZER(texts, padding="max_length", max_length=ROOM + 2, truncation=True, return_tensors="pt").input_ids
    literal = heard(*map(Prompt.literal, texts))
    assert torch.equal(literal.states, ONE[0](ids, output_hidden_states=True).last_hidden_state)


def test_a_short_prompt_without_weights_is_the_literal_one_to_the_bit() -> None:
    for towers in (ONE, TWO):
        mine = heard(words("a (b)"), words(""), words("一只猫"), towers=towers)
        literal = heard(*(Prompt.literal(text) for text in ("a (b)", "", "一只猫")), towers=towers)
        assert torch.equal(mine.states, literal.states)
        assert (mine.pooled is None) == (towers is ONE)
        if mine.pooled is not None and literal.pooled is not None:
            assert torch.equal(mine.pooled, literal.pooled)


def test_chunks_lie_side_by_side() -> None:
    """Each is encoded by itself with its first and last token and padding; the pooled vector is the first one's."""
    text = "abcdefghij" + "klmnopqrst" + "uv"
    both = heard(words(text), towers=TWO)
    for begin, width, encoder in ((0, 24, TWO[0]), (24, 32, TWO[1])):
        parts = [stock(part, encoder).hidden_states[-2] for part in ("abcdefghij", "klmnopqrst", "uv")]
        # In the middle of a word letters are other tokens than at its end.
        assert both.states.shape[1] == 3 * (ROOM + 2)
        assert_close(both.states[:, 24:36, begin : begin + width], parts[2])
    assert both.pooled is not None and both.pooled.shape == (1, 32)
    assert_close(both.pooled, heard(Prompt.literal(text), towers=TWO).pooled)


def test_the_last_word_of_a_long_prompt_is_heard() -> None:
    long = "cat " * 60
    literal, other = (heard(Prompt.literal(long + last)).states for last in ("dog", "cow"))
    assert torch.equal(literal, other)
    assert not torch.equal(heard(words(long + "dog")).states, heard(words(long + "cow")).states)


def test_a_break_begins_a_chunk() -> None:
    both = heard(whole((Part("ab"),), (Part("c"),))).states
    assert_close(both, torch.cat([stock("ab")[0], stock("c")[0]], dim=1))
    leading, trailing = whole((Part(""),), (Part("c"),)), whole((Part("c"),), (Part(""),))
    assert_close(heard(leading).states, torch.cat([stock("")[0], stock("c")[0]], dim=1))
    assert_close(heard(trailing).states, stock("c")[0])


def tokens(text: str) -> list[Token]:
    """A token a letter; a comma is one."""
    return [Token(COMMA if letter == "," else ord(letter), 1.0) for letter in text]


def lengths(text: str, room: int = 75) -> list[int]:
    return [len(chunk) for chunk in split(tokens(text), room, COMMA)]


def test_a_full_chunk_ends_after_its_last_comma() -> None:
    """A1111's rule: where the comma is one of the last twenty tokens, and what comes next is none."""
    assert lengths("a" * 75) == [75] and lengths("a" * 76) == [75, 1] and lengths("") == []
    assert lengths("a" * 70 + "," + "b" * 5) == [71, 5]
    assert lengths("a" * 55 + "," + "b" * 20) == [56, 20], "19 tokens behind it in the chunk"
    assert lengths("a" * 54 + "," + "b" * 21) == [75, 1], "20 are too many"
    assert lengths("a" * 74 + "," + "b") == [75, 1]
    assert lengths("a" * 70 + "," + "b" * 4 + "," + "c") == [75, 2], "the comma that comes goes on to the next chunk"
    assert BACKTRACK == 20


@given(some.text(alphabet="ab,", max_size=200), some.integers(3, 75))
def test_no_token_is_lost(text: str, room: int) -> None:
    chunks = split(mine := tokens(text), room, COMMA)
    assert [token for chunk in chunks for token in chunk] == mine
    assert all(0 < len(chunk) <= room for chunk in chunks)


def test_a_weight_scales_its_tokens_and_the_mean_is_restored() -> None:
    plain = stock("ab c d")[0]
    mine = heard(whole((Part("ab "), Part("c", 1.5), Part(" d")))).states
    weights = torch.ones(ROOM + 2)
    weights[3] = 1.5  # after the first token, a and b
    loud = plain * weights[:, None]
    assert_close(mine, loud * (plain.mean() / loud.mean()))
    assert not torch.equal(mine, plain)


def test_where_there_is_no_mean_none_is_restored() -> None:
    encoder = tower()
    encoder.final_layer_norm.weight[:], encoder.final_layer_norm.bias[:] = 1, 0
    plain, loud = (encode([encoder], [TOKENIZER], [whole((Part("a", weight),))]).states for weight in (1.0, 1.5))
    assert_close(loud[:, 1], 1.5 * plain[:, 1])
    assert torch.equal(loud[:, 2:], plain[:, 2:])


def test_each_chunk_and_each_prompt_has_its_own_mean() -> None:
    """Where nothing has a weight, nothing changes, to the bit."""
    loud, quiet = whole((Part("ab", 1.4),)), words("c d")
    both = heard(loud, quiet).states
    assert torch.equal(both[1], heard(words("ab"), quiet).states[1])
    assert_close(both[:1], heard(loud).states)
    two = heard(whole((Part("ab", 1.4),), (Part("c d"),))).states
    assert_close(two, torch.cat([both[:1], both[1:]], dim=1))


def test_each_tower_has_its_own_mean() -> None:
    plain, loud = heard(words("ab c"), towers=TWO), heard(whole((Part("ab", 1.3), Part(" c"))), towers=TWO)
    for part in (slice(0, 24), slice(24, 56)):
        assert_close(loud.states[..., part].mean(), plain.states[..., part].mean())
    assert plain.pooled is not None and loud.pooled is not None and torch.equal(plain.pooled, loud.pooled)


def test_clip_skip_counts_from_the_last_layer() -> None:
    one, (first, second) = stock("ab"), (stock("ab", each) for each in TWO)
    norm = ONE[0].final_layer_norm
    assert torch.equal(heard(words("ab")).states, one.last_hidden_state)
    assert_close(heard(words("ab"), clip_skip=2).states, norm(one.hidden_states[-2]))
    assert_close(heard(words("ab"), clip_skip=3).states, norm(one.hidden_states[-3]))
    for skip in (1, 2):
        expected = torch.cat([first.hidden_states[-1 - skip], second.hidden_states[-1 - skip]], dim=-1)
        assert_close(heard(words("ab"), clip_skip=skip, towers=TWO).states, expected)
    for wrong in (0, 4):
        with pytest.raises(ConfigError, match=f"clip skip {wrong} makes no sense: .* has 3 layers"):
            heard(words("ab"), clip_skip=wrong)


def vectors(count: int, width: int = 16) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count))


def test_a_learned_word_stands_among_the_tokens() -> None:
    """Its vectors are heard as if the table of tokens had them, and neither it nor the tokenizer changes."""
    encoder = tower()
    before = {name: each.clone() for name, each in encoder.state_dict().items()}
    word = Embedding("cat-toy", (vectors(2),))
    mine = encode([encoder], [TOKENIZER], [whole((Part("a "), Part(word), Part(" b"))), words("ab")])
    assert all(torch.equal(each, before[name]) for name, each in encoder.state_dict().items())
    assert encoder.get_input_embeddings()._forward_hooks == {}
    assert torch.equal(mine.states[1:], heard(words("c"), words("ab")).states[1:])
    taught = tower()
    taught.resize_token_embeddings(192, mean_resizing=False)
    taught.get_input_embeddings().weight.data[190:] = vectors(2)
    a, b = (TOKENIZER(letter, add_special_tokens=False).input_ids for letter in "ab")
    ids = torch.tensor([[188, *a, 190, 191, *b, *[189] * (ROOM - 3)]])
    assert_close(mine.states[:1], taught(ids).last_hidden_state)


def test_a_learned_word_is_not_torn_apart() -> None:
    word = Embedding("x", (vectors(4),))
    both = heard(whole((Part("a b c d e f g h"), Part(word)))).states
    assert both.shape[1] == 2 * (ROOM + 2)
    assert_close(both[:, ROOM + 2 :], heard(whole((Part(word),))).states)
    with pytest.raises(InputError, match="'x' has 11 vectors, and this base hears 10 tokens at once"):
        heard(whole((Part(Embedding("x", (vectors(11),))),)))


def test_towers_whose_learned_words_differ_in_length_have_as_many_chunks() -> None:
    word = Embedding("x", (vectors(2, 24), vectors(8, 32)))
    both = heard(whole((Part("a b c d"), Part(word))), towers=TWO)
    assert both.states.shape == (1, 2 * (ROOM + 2), 56)
    assert_close(both.states[:, ROOM + 2 :, :24], stock("", TWO[0]).hidden_states[-2])


LENGTHS = [words("a"), words("a b c d e f g h i j k l"), words("ab " * 12)]


def test_prompts_of_different_lengths_are_one_batch() -> None:
    """2, 1 and 3 chunks: each is repeated as a whole until all are as long."""
    counts = [1, 2, 3]
    batch = heard(*LENGTHS)
    assert batch.states.shape == (3, math.lcm(*counts) * (ROOM + 2), 16)
    for row, (prompt, count) in enumerate(zip(LENGTHS, counts, strict=True)):
        alone = heard(prompt).states[0]
        assert len(alone) == count * (ROOM + 2)
        assert_close(batch.states[row], alone.repeat(6 // count, 1))


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_what_is_repeated_is_heard_as_once(models: Any, family: str) -> None:
    """So a prompt is drawn the same beside a longer one as alone."""
    unet = models.unet(family)
    sample, timestep, text = models.inputs(unet)
    longer = Text(torch.randn(2, 22, text.states.shape[2]), text.pooled, text.time_ids)
    repeated, same = alike(text, longer)
    assert same is longer and repeated.states.shape == longer.states.shape
    once, again = (predict(unet, sample, timestep, each) for each in (text, repeated))
    assert (once - again).abs().max() < 1e-5
    assert (once - predict(unet, sample, timestep, longer)).abs().max() > 1e-3
