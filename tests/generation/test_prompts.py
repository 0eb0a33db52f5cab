"""A1111's grammar, what prompts mean, and that recipes draw it again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from safetensors.torch import save_file

from underdraw.errors import CheckpointError, ConfigError, InputError
from underdraw.generation import (
    Drawing,
    Reading,
    Studio,
    Wish,
    encode_prompts,
    in_style,
    plan,
    read_drawing,
    redrawn,
    styled,
    verify,
)
from underdraw.generation.prompts import parse
from underdraw.model import Embedding, Part

PUBLISHED = {
    "normal text": [("normal text", 1.0)],
    "an (important) word": [("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    "(unbalanced": [("unbalanced", 1.1)],
    r"\(literal\]": [("(literal]", 1.0)],
    "(unnecessary)(parens)": [("unnecessaryparens", 1.1)],
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": [
        ("a ", 1.0),
        ("house", 1.5730000000000004),
        (" ", 1.1),
        ("on", 1.0),
        (" a ", 1.1),
        ("hill", 0.55),
        (", sun, ", 1.1),
        ("sky", 1.4641000000000006),
        (".", 1.1),
    ],
}
"""The examples that A1111's parser has in its own documentation."""


@pytest.mark.parametrize("text", PUBLISHED)
def test_the_published_examples(text: str) -> None:
    assert parse(text) == [PUBLISHED[text]]


def test_what_else_people_write() -> None:
    assert parse("") == [[("", 1.0)]]
    assert parse("[[quiet]]") == [[("quiet", 1 / 1.1 / 1.1)]]
    assert parse("(a (b:2) c:0.5)") == [[("a ", 0.5), ("b", 1.0), (" c", 0.5)]]
    assert parse("(a : 1.2 ) ( b:-.5)") == [[("a ", 1.2), (" ", 1.0), (" b", -0.5)]]
    assert parse("16:9, a) b] c:1.2) d") == [[("16:9, a) b] c:1.2) d", 1.0)]]
    assert parse(r"C:\dir \\ \(a\) (\(b\):1.2)") == [[(r"C:dir \ (a) ", 1.0), ("(b)", 1.2)]]
    assert parse("(a:1.2.3)") == [[("a:1.2.3", 1.1)]], "no number"
    assert parse("一只（猫：1.2）") == [[("一只（猫：1.2）", 1.0)]], "full-width brackets are signs"


def test_breaks() -> None:
    assert parse("a BREAK b") == [[("a", 1.0)], [("b", 1.0)]]
    assert parse("(a BREAK b:1.2) c") == [[("a", 1.2)], [("b", 1.2), (" c", 1.0)]], "inside a group too"
    assert parse("BREAK\n a,BREAK") == [[("", 1.0)], [("a,", 1.0)], [("", 1.0)]]
    assert parse("BREAKFAST, break, Break") == [[("BREAKFAST, break, Break", 1.0)]]


@pytest.mark.parametrize("text", ["[cat:dog:0.5]", "[dog:0.5]", "[dog::8]", "a [cat|dog] b", "[(cat:1.2):dog:.25]"])
def test_prompt_editing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"A1111's prompt editing.*not done here; write"):
        parse(text)


def test_what_only_looks_like_it_is_not() -> None:
    assert parse(r"\[cat\|dog\] a|b [time: 12 o'clock]") == [
        [("[cat|dog] a|b ".replace("|", "|"), 1.0), ("time: 12 o'clock", 1 / 1.1)]
    ]


@given(some.text(alphabet=some.characters(exclude_characters="()[]\\:", exclude_categories=["Cs"])))
def test_plain_words_stay(text: str) -> None:
    assert parse(text.replace("BREAK", "")) == [[(text.replace("BREAK", ""), 1.0)]]


@given(some.text(alphabet="ab(:[1.2)]\\ "))
def test_every_prompt_can_be_read(text: str) -> None:
    try:
        sections = parse(text)
    except InputError:
        return
    assert len(sections) == 1 and all(isinstance(words, str) for words, _ in sections[0])


def test_a_literal_reading_leaves_brackets() -> None:
    assert Reading()("(a) BREAK").sections == ((Part("(a) BREAK"),),) and not Reading()("a").whole
    read = Reading("a1111")("(a) BREAK b")
    assert read.sections == ((Part("a", 1.1),), (Part("b"),)) and read.whole


def test_learned_words_are_found_as_whole_words() -> None:
    short, long, odd = (Embedding(name, ()) for name in ("cat", "cat-toy v2", "<cat>"))
    reading = Reading("a1111", embeddings={each.name: each for each in (short, long, odd)})
    (found,) = reading("cats, (Cat:1.2), a CAT-toy v2, <cat>,bobcat").sections
    assert found == (
        *(Part("cats, "), Part("", 1.2), Part(short, 1.2), Part("", 1.2), Part(", a ")),
        *(Part(long), Part(", "), Part(odd), Part(",bobcat")),
    )


def test_styles_stand_behind_the_prompt() -> None:
    prompt, negative = styled("a cat", "dog", ["quality", "negative"])
    assert prompt == "a cat, masterpiece, best quality, extremely detailed"
    assert negative.startswith("dog, lowres, bad anatomy, ") and negative.endswith(", blurry")
    assert styled("", "", "controlnet demo")[0] == "best quality, extremely detailed"
    assert styled("a cat") == ("a cat", "")
    with pytest.raises(ConfigError, match="unknown style 'qualty'; did you mean 'quality'"):
        styled("a cat", styles="qualty")


SIZE = (32, 32)
LONG = "red mushroom, " * 8 + "blue"


def drawn(studio: Studio, *prompts: str, **settings: Any) -> torch.Tensor:
    pictures = studio.draw(prompts, seeds=[3] * len(prompts), size=SIZE, **{"steps": 3} | settings)
    return torch.stack([each.picture for each in pictures])


def test_a_prompt_of_200_words_changes_with_its_last() -> None:
    """With the embedded base and its 46 tokens a chunk."""
    studio, words = Studio.open(device="cpu"), "a sticker of a thing, " * 40
    assert len((words + "x").split()) == 201
    pictures = studio.draw([words + "day", words + "night"], seeds=[3, 3], size=(64, 64), steps=6)
    day, night = (each.picture for each in pictures)
    assert (day - night).abs().max() > 0.1


def test_styles_from_python_are_those_of_the_command_line(studio: Studio) -> None:
    (first,) = studio.draw("a hat", seeds=1, size=SIZE, steps=1, negative="blue", styles=["quality", "usual negative"])
    wish = in_style(Wish(("a hat",), size=SIZE, settings={"negative": "blue"}), ["quality", "usual negative"])
    (batch,) = plan(studio, wish)
    assert first.drawing.prompt == batch.drawings[0].prompt == "a hat, masterpiece, best quality, extremely detailed"
    assert first.drawing.negative == batch.drawings[0].negative
    assert first.drawing.negative.startswith("blue, lowres")


def test_weights_and_brackets_are_heard(studio: Studio) -> None:
    plain, loud, quiet, one = drawn(studio, "a red hat", "a (red:1.6) hat", "a [red] hat", "a (red:1.0) hat")
    assert (plain - loud).abs().mean() > 1e-4 and (plain - quiet).abs().mean() > 1e-5
    assert torch.equal(plain, one), "a weight of 1 is none"


def test_one_is_many_whatever_the_length(studio: Studio) -> None:
    """Law 6: short and long prompts in one batch, under short and long negative ones."""
    prompts, negatives = ["a", LONG, "(hat:1.3) BREAK shoe", LONG * 2], ["", "blue", LONG, ""]
    encoded = encode_prompts(studio.backbone, prompts, SIZE, 4.0, negatives, reading=Reading("a1111"))
    assert encoded.text is not None and encoded.empty is not None
    assert encoded.text.states.shape == encoded.empty.states.shape
    many = studio.draw(prompts, seeds=[1, 2, 3, 4], size=SIZE, steps=3, negative=negatives)
    for place, (prompt, negative) in enumerate(zip(prompts, negatives, strict=True)):
        (alone,) = studio.draw(prompt, seeds=place + 1, size=SIZE, steps=3, negative=negative)
        assert (many[place].picture - alone.picture).abs().max() < 1e-4


def test_without_anything_special_all_is_as_it_was(studio: Studio) -> None:
    """A prompt that fits, without weights: the encoding of today and that of the first version are one, to the bit."""
    backbone = studio.backbone
    prompts, negatives = ["a hat", "红帽"], ["", "blue"]
    new = encode_prompts(backbone, prompts, SIZE, 4.0, negatives, reading=Reading("a1111"))
    assert new.text is not None and new.empty is not None
    assert torch.equal(new.text.states, backbone.encode_text(prompts).states)
    assert torch.equal(new.empty.states[:1], backbone.empty_text().states)
    assert torch.equal(new.empty.states[1:], backbone.encode_text(["blue"]).states)


def test_an_old_recipe_is_read_literally(studio: Studio) -> None:
    """Brackets were brackets, and what was too long was cut off: a recipe that does not say otherwise is drawn so."""
    told = {"width": 32, "height": 32, "steps": 2, "base": studio.name, "base_hash": studio.hash}
    old = Drawing(prompt="a (red:1.5) hat, and much more", **told)
    assert "grammar" not in old.model_dump_json()
    (batch,) = redrawn(studio, old, Wish(), "x")
    (kept,) = studio.draw_batch(batch)
    (cut,) = studio.draw_batch(
        next(iter(redrawn(studio, old.model_copy(update={"prompt": "a (red:1.5) hat,"}), Wish(), "x")))
    )
    assert kept.drawing.grammar == "literal" and torch.equal(kept.picture, cut.picture)
    (again,) = redrawn(studio, old, Wish(settings={"steps": 3}), "x")
    assert again.drawings[0].grammar == "literal", "as long as the prompt stays"
    (other,) = redrawn(studio, old, Wish(prompts=("a (red:1.5) hat",)), "x")
    assert other.drawings[0].grammar == "a1111"


@pytest.fixture
def word(tmp_path: Path) -> Path:
    """A textual inversion of two vectors for the tiny base."""
    vectors = torch.randn(2, 16, generator=torch.Generator().manual_seed(5))
    save_file({"emb_params": vectors}, tmp_path / "Easy-Hat.safetensors")
    return tmp_path / "Easy-Hat.safetensors"


def test_everything_at_once_is_drawn_again_to_the_byte(base: Path, word: Path, tmp_path: Path) -> None:
    studio = Studio.open(str(base), device="cpu")
    assert studio.embeddings.add(word) == "Easy-Hat"
    (first,) = studio.draw(
        f"(red:1.3) easy-hat, {LONG} BREAK [end]", seeds=7, size=SIZE, steps=2, negative="easy-hat", clip_skip=2
    )
    first.save(tmp_path / "out.png")
    drawing = read_drawing(tmp_path / "out.png")
    assert (drawing.grammar, drawing.clip_skip) == ("a1111", 2)
    assert [each.name for each in drawing.embeddings] == ["easy-hat"] and len(drawing.embeddings[0].hash) == 16
    assert f'Clip skip: 2, TI hashes: "easy-hat: {drawing.embeddings[0].hash[:12]}"' in drawing.parameters()
    assert verify(studio, tmp_path / "out.png").finding == "exact"
    bare = Studio.open(str(base), device="cpu")
    with pytest.raises(ConfigError, match=r"no textual inversion is called 'easy-hat': .* --embedding FILE"):
        verify(bare, tmp_path / "out.png")
    save_file({"emb_params": torch.zeros(2, 16)}, word)
    bare.embeddings.add(word)
    with pytest.raises(InputError, match="another textual inversion 'easy-hat'"):
        verify(bare, tmp_path / "out.png")


def test_each_part_of_it_changes_the_picture(base: Path, word: Path) -> None:
    studio = Studio.open(str(base), device="cpu")
    plain = drawn(studio, "a easy-hat")
    assert not torch.equal(plain, drawn(studio, "a easy-hat", clip_skip=2))
    studio.embeddings.add(word)
    assert not torch.equal(plain, drawn(studio, "a easy-hat"))
    (cats,) = plan(studio, Wish(("easy-hats",), size=SIZE))
    assert cats.drawings[0].embeddings == ()


def test_a_word_lies_on_the_shelf(base: Path, word: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in A1111, by its file's name; other files of that name are no words, and another family's is refused."""
    monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path))
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, tmp_path / "shoe.safetensors")
    save_file({"emb_params": torch.zeros(1, 768)}, tmp_path / "far.safetensors")
    studio = Studio.open(str(base), device="cpu")
    (batch,) = plan(studio, Wish(("a shoe, easy-hat",), size=SIZE))
    assert [each.name for each in batch.drawings[0].embeddings] == ["easy-hat"]
    told = r"far\.safetensors is a textual inversion for Stable Diffusion 1\.x \(768 wide\), and this base is another"
    with pytest.raises(CheckpointError, match=told):
        list(plan(studio, Wish(("so far",), size=SIZE)))


def test_a_wish_can_be_taken_literally(studio: Studio) -> None:
    (batch,) = plan(studio, Wish(("[a|b]",), size=SIZE, settings={"grammar": "literal"}))
    assert batch.drawings[0].grammar == "literal"
    with pytest.raises(InputError, match="prompt editing"):
        list(plan(studio, Wish(("[a|b]",), size=SIZE)))
    with pytest.raises(ConfigError, match="clip skip 9 makes no sense"):
        drawn(studio, "a", clip_skip=9)
