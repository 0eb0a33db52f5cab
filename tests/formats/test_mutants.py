"""Files of every kind with something wrong in them: each is read, or refused in one line that names the file."""

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from underdraw.errors import CheckpointError, UnderdrawError
from underdraw.formats.base_writing import write_base_file
from underdraw.formats.control_writing import write_control_file, write_control_lora
from underdraw.formats.controls import control_parts, open_control
from underdraw.formats.convert import FORMS, Job, convert
from underdraw.formats.detect import detect
from underdraw.formats.embeddings import open_embedding
from underdraw.formats.lora import load_lora, write_lora
from underdraw.formats.opening import open_base
from underdraw.formats.t2i import open_adapter
from underdraw.formats.writing import told as words_of
from underdraw.formats.writing import write_tensors
from underdraw.model import Backbone

from ..generation.conftest import tiny_base
from ..generation.shelf import adapter, trained
from .tiny import base, branch, control, parts

Tensors = dict[str, Tensor]
Words = dict[str, str]
ATTENTION = "attentions.0.transformer_blocks.0"
UP = f"lora_unet_mid_block_{ATTENTION.replace('.', '_')}_attn1_to_v.lora_up.weight"
DOWN, HEARD = (f"unet.mid_block.{ATTENTION}.{layer}.lora_A.weight" for layer in ("attn1.to_v", "attn2.to_k"))
JUNK: list[Any] = [None, 1, -1, 1.5, "x", [], {}, [1], {"a": 1}, True, 10**30, [[]]]
OPEN: dict[str, Callable[[Path, Any], Any]] = {
    "base": lambda path, host: open_base(path),
    "xl": lambda path, host: open_base(path),
    "vae": lambda path, host: open_base(path.with_name("base.safetensors"), vae=path),
    "net": lambda path, host: open_control(path, host.unet),
    "diffusers-net": lambda path, host: open_control(path, host.unet),
    "control-lora": lambda path, host: open_control(path, host.unet),
    "adapter": lambda path, host: open_adapter(path, host.unet),
    "original-adapter": lambda path, host: open_adapter(path, host.unet),
    "kohya": lambda path, host: load_lora(path, host),
    "peft": lambda path, host: load_lora(path, host),
    "word": lambda path, host: open_embedding(path, host),
}
"""What opens each kind for a base."""


@pytest.fixture(scope="module")
def host() -> Backbone:
    return base("sd1")


@pytest.fixture(scope="module")
def kinds(host: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good file of each of the usual ones."""
    root = tmp_path_factory.mktemp("kinds")
    write_base_file(parts("sd1"), root / "base.safetensors")
    net, lora = control_parts(control(host.unet)), trained(host)
    write_control_file(net, root / "net.safetensors")
    unet = {name: each.detach() for name, each in host.unet.state_dict().items()}
    write_control_lora(net, unet, root / "control-lora.safetensors", 4)
    save_file(dict(adapter().state_dict()), root / "adapter.safetensors")
    write_lora(lora, root / "kohya.safetensors")
    write_lora(lora, root / "peft.safetensors", "diffusers")
    return root


@pytest.fixture(scope="module")
def every(kinds: Path, host: Backbone) -> Path:
    """And of the rarer ones."""
    vae = parts("sd1").vae
    assert vae is not None
    write_base_file(parts("sdxl"), kinds / "xl.safetensors")
    write_tensors(vae.tensors, kinds / "vae.safetensors", None, words_of(kind="vae", vae=dict(vae.config)))
    save_file(dict(branch(host.unet).state_dict()), kinds / "diffusers-net.safetensors")
    convert(Job(kinds / "adapter.safetensors", kinds / "original-adapter.safetensors", "original"))
    save_file({"emb_params": torch.randn(2, 48)}, kinds / "word.safetensors")
    return kinds


def changed(kinds: Path, kind: str, change: Callable[[Tensors, Words], None]) -> Path:
    """A copy of a kind's file, changed."""
    with safe_open(kinds / f"{kind}.safetensors", "pt") as file:
        words = dict(file.metadata() or {})
    tensors = load_file(kinds / f"{kind}.safetensors")
    change(tensors, words)
    save_file({name: each.contiguous() for name, each in tensors.items()}, kinds / "mutant.safetensors", words)
    return kinds / "mutant.safetensors"


def told(key: str, name: str, value: Any) -> Callable[[Tensors, Words], None]:
    """The change of one value in one of the tables that a file has of itself."""

    def change(tensors: Tensors, words: Words) -> None:
        said = json.loads(words["underdraw"])
        said[key][name] = value
        words["underdraw"] = json.dumps(said)

    return change


def shaped(name: str, *shape: int) -> Callable[[Tensors, Words], None]:
    return lambda tensors, words: tensors.update({name: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("kohya", shaped(UP), "is one number, not a factor"),
        ("kohya", shaped(UP, 3), "attn1.to_v don't fit together"),
        ("peft", shaped(DOWN), "is one number, not a factor"),
        ("peft", shaped(HEARD, 0), "attn2.to_k don't fit together"),
        ("control-lora", shaped("input_blocks.1.0.in_layers.2.down", 1), "has another shape than in the base"),
        ("control-lora", shaped("input_blocks.1.0.in_layers.2.up", 5, 7), "has another shape than in the base"),
        ("net", told("control", "only_cross_attention", []), "its config does not make a ControlNet"),
        ("net", told("control", "conditioning_channels", []), ""),
        ("base", told("scheduler", "beta_start", []), "the scheduler's betas make no sense"),
        ("base", told("scheduler", "num_train_timesteps", 10**30), "the scheduler's betas make no sense"),
        (
            "adapter",
            lambda tensors, words: [tensors.pop(name) for name in [*tensors] if ".0.resnets" in name],
            "is a T2I-Adapter of another form",
        ),
    ],
)
def test_each_has_its_line(kinds: Path, host: Backbone, kind: str, change: Any, words: str) -> None:
    path = changed(kinds, kind, change)
    try:
        OPEN[kind](path, host)
    except UnderdrawError as error:
        assert words in str(error) and "\n" not in str(error), error
    else:
        assert not words


def test_a_broken_file_is_looked_at(kinds: Path) -> None:
    """`inspect`, and whatever asks first what a file is."""
    for shape in ((), (0,)):
        with pytest.raises(CheckpointError, match="tensors of shapes that its kind never has"):
            detect(changed(kinds, "peft", shaped(HEARD, *shape)))


def in_file(part: str, change: Callable[[Tensor], Tensor], stem: str = "diffusion_pytorch_model") -> Any:
    """The change of one tensor of a component."""

    def within(base: Path) -> None:
        tensors = load_file(base / part / f"{stem}.safetensors")
        name = next(name for name in sorted(tensors) if name.endswith("weight"))
        save_file(tensors | {name: change(tensors[name])}, base / part / f"{stem}.safetensors")

    return within


def in_config(part: str, old: str, new: str) -> Any:
    def within(base: Path) -> None:
        path = base / part / "config.json"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return within


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_file("unet", lambda each: each * torch.nan), "holds NaN or infinity, read as float32"),
        (in_file("vae", lambda each: each.to(torch.int8)), "is I8; quantised weights are not supported"),
        (in_file("text_encoder", lambda each: each + torch.inf, "model"), "holds NaN or infinity, read as float32"),
        (in_config("vae", '"scaling_factor": 1.0', '"scaling_factor": "x"'), "scaling_factor = 'x' is no number"),
        (in_config("unet", '"sample_size": 8', '"sample_size": "x"'), "sample_size = 'x' is no number"),
    ],
)
def test_folders(change: Callable[[Path], None], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line, and none of a library's reports beside it."""
    change(tiny_base(tmp_path / "base"))
    capfd.readouterr()
    with pytest.raises(CheckpointError) as raised:
        Backbone.load(tmp_path / "base")
    assert words in str(raised.value) and "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""


def mutate(chance: random.Random, tensors: Tensors, words: Words) -> None:
    """Something wrong with a tensor, or with what the file says of itself."""
    name = chance.choice([*tensors])
    old, kind = tensors[name], chance.choice([torch.int8, torch.bool, torch.float64, torch.float8_e4m3fn, torch.int64])
    other = chance.choice([name + ".x", name[:-1], "x." + name, name.replace(".", "_"), "control_model." + name])
    begun = name[: chance.randint(1, len(name))]
    wrong: list[Callable[[], Any]] = [
        lambda: tensors.pop(name),
        lambda: [tensors.pop(each) for each in [*tensors] if each.startswith(begun)],
        lambda: tensors.update({other: tensors.pop(name)}),
        lambda: tensors.update({name: torch.zeros(chance.choice([(), (0,), (3,), (2, 2), (1, 1, 1, 1, 1)]))}),
        lambda: tensors.update(
            {name: torch.zeros([max(0, side + chance.choice([-1, 0, 1, side])) for side in old.shape])}
        ),
        lambda: tensors.update({name: old.to(kind)}),
        lambda: tensors.update({name: torch.full(old.shape, chance.choice([torch.nan, torch.inf, 1e30]))}),
        lambda: tensors.update({chance.choice(["x", "difference", "lora_controlnet", "v_pred"]): torch.zeros(2, 2)}),
        lambda: words.update(underdraw=json.dumps(chance.choice(JUNK))),
        lambda: _misled(chance, words),
    ]
    chance.choice(wrong)()


def _misled(chance: random.Random, words: Words) -> None:
    said = json.loads(words.get("underdraw", "{}"))
    tables = [table for table in (said, *said.values()) if isinstance(table, dict) and table]
    if tables:
        table = chance.choice(tables)
        table[chance.choice([*table])] = chance.choice(JUNK)
    words["underdraw"] = json.dumps(said)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", OPEN)
def test_whatever_is_wrong_is_one_line(every: Path, host: Backbone, tmp_path: Path, kind: str) -> None:
    """Sixty copies of each kind's file, looked at, opened, and written in another form."""
    OPEN[kind](every / f"{kind}.safetensors", host)
    refused = 0
    for seed in range(60):
        chance = random.Random(f"{kind} {seed}")
        path = changed(every, kind, partial(mutate, chance))
        form = chance.choice(sorted({form for forms in FORMS.values() for form in forms}))
        job = Job(
            path, tmp_path / chance.choice(["out", "out.safetensors"]), form, base=str(every / "base.safetensors")
        )
        calls: list[Callable[[], Any]] = [partial(detect, path), partial(OPEN[kind], path, host), partial(convert, job)]
        for call in calls:
            try:
                call()
            except UnderdrawError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > 60
