"""LoRA on whole models: attached, stacked, weighted, merged, taken off, in U-Nets, text encoders and branches."""

import copy
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from underdraw.errors import ConfigError, InputError
from underdraw.model import (
    TARGETS,
    Control,
    Lora,
    LoraConfig,
    attach,
    attached_to,
    block_weights,
    build,
    build_lora,
    detach,
    predict,
    projected_once,
)
from underdraw.model.adapters import LowRank
from underdraw.model.lora import Host, layers, misfit

EVERYTHING = LoraConfig(rank=4, alpha=2.0, targets=TARGETS.names())


def fresh(host: Host, config: LoraConfig = EVERYTHING, seed: int = 0, loud: float = 0.1) -> Lora:
    """A LoRA as training leaves it: B is not zero."""
    torch.manual_seed(seed)
    lora = build_lora(host, config)
    for adapter in lora.adapters.values():
        assert isinstance(adapter, LowRank)
        nn.init.normal_(adapter.up, std=loud)
    return lora.requires_grad_(False)


def drawing(models: Any, unet: Any) -> Callable[[], Tensor]:
    sample, timestep, text = models.inputs(unet)

    def draw() -> Tensor:
        with torch.no_grad():
            return predict(unet, sample, timestep, text)

    return draw


def fingerprint(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hooks(module: nn.Module) -> int:
    return sum(len(layer._forward_hooks) for layer in module.modules())


def text_encoder(kind: Any = CLIPTextModel) -> Any:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=8,
        bos_token_id=38,
        eos_token_id=39,
    )
    return kind(config).requires_grad_(False).eval()


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl", "pixels"])
def test_detached_is_as_never_attached(models: Any, family: str) -> None:
    unet = models.unet(family)
    draw, before, names = drawing(models, unet), fingerprint(unet), [name for name, _ in unet.named_modules()]
    locked = draw()
    host = {"unet": unet}
    attached = attach(host, fresh(host), weight=0.8)
    heard = draw()
    assert (heard - locked).abs().mean() > 1e-3 * locked.abs().mean()
    assert (fingerprint(unet), [name for name, _ in unet.named_modules()]) == (before, names)
    attached.weight = 0.0
    assert torch.equal(draw(), locked)
    attached.weight = 0.8
    assert torch.equal(draw(), heard)
    attached.detach()
    attached.detach()
    assert torch.equal(draw(), locked) and hooks(unet) == 0


def test_it_equals_the_weights_written_out(models: Any) -> None:
    unet = models.unet("sd15")
    host = {"unet": unet}
    lora = fresh(host)
    with attach(host, lora, 0.7):
        heard = drawing(models, unet)()
    written = copy.deepcopy(unet)
    for address, layer in layers({"unet": written}):
        if address in lora.adapters:
            assert isinstance(layer, nn.Linear | nn.Conv2d)
            layer.weight.data += 0.7 * lora.adapters[address].delta(layer.weight)
    assert_close(drawing(models, written)(), heard, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_merged_equals_attached_and_gives_the_bits_back(models: Any, family: str) -> None:
    unet = models.unet(family)
    draw, before, host = drawing(models, unet), fingerprint(unet), {"unet": unet}
    locked = draw()
    attached = attach(host, fresh(host), 0.8)
    heard = draw()
    attached.merge()
    assert_close(draw(), heard, rtol=1e-4, atol=1e-5)
    assert fingerprint(unet) != before
    attached.weight = 0.4
    merged = draw()
    attached.unmerge()
    assert fingerprint(unet) == before
    assert_close(draw(), merged, rtol=1e-4, atol=1e-5)
    attached.merge().detach()
    assert fingerprint(unet) == before and torch.equal(draw(), locked) and hooks(unet) == 0


def test_merging_in_half_precision_gives_the_bits_back(models: Any) -> None:
    unet = models.unet("sd15").to(torch.bfloat16)
    before, host = fingerprint(unet), {"unet": unet}
    attached = attach(host, fresh(host), 0.8).merge()
    assert fingerprint(unet) != before
    attached.unmerge()
    assert fingerprint(unet) == before


def test_several_commute_attached_and_merged(models: Any) -> None:
    unet = models.unet("sd15")
    draw, before, host = drawing(models, unet), fingerprint(unet), {"unet": unet}
    one, two = (fresh(host), 0.6), (fresh(host, LoraConfig(rank=2, targets=["cross-attention"]), seed=1), 0.9)
    results, merged = [], []
    for first, second in ((one, two), (two, one)):
        with attach(host, *first) as lower, attach(host, *second) as upper:
            results.append(draw())
            lower.merge()
            upper.merge()
            merged.append(fingerprint(unet))
            lower.unmerge()  # not the last one that was merged
            assert_close(draw(), results[-1], rtol=1e-4, atol=1e-5)
        assert fingerprint(unet) == before
    assert torch.equal(*results) and merged[0] == merged[1]


def test_taken_off_without_its_handle(models: Any) -> None:
    unet = models.unet("sd15")
    draw, before, host = drawing(models, unet), fingerprint(unet), {"unet": unet}
    locked, one, two = draw(), fresh(host), fresh(host, LoraConfig(targets=["cross-attention"]), seed=1)
    with attach(host, two):
        expected = draw()
    first, second = attach(host, one).merge(), attach(host, two)
    assert attached_to(host) == [first, second]
    detach(host, one)
    assert attached_to(host) == [second] and torch.equal(draw(), expected) and fingerprint(unet) == before
    attach(host, one)
    detach(host)
    assert attached_to(host) == [] and hooks(unet) == 0 and torch.equal(draw(), locked)


@pytest.mark.parametrize("merged", [False, True])
def test_weights_by_block(models: Any, merged: bool) -> None:
    unet = models.unet("sd15")
    draw, host = drawing(models, unet), {"unet": unet}
    lora = fresh(host)
    only = block_weights([0.0] * 13 + [1.0] + [0.0] * 12)  # MID
    middle = Lora({name: each for name, each in lora.adapters.items() if ".mid_block." in name})
    with attach(host, middle, 0.5):
        expected = draw()
    attached = attach(host, lora, 0.5, only)
    if merged:
        attached.merge()
        assert_close(draw(), expected, rtol=1e-4, atol=1e-5)
    else:
        assert torch.equal(draw(), expected)
    attached.detach()
    with attach(host, lora, 0.5, {"MID": 0.0}):
        assert not torch.equal(draw(), expected)


def test_a_unet_with_one_resnet_a_level_has_its_own_count(models: Any) -> None:
    unet = models.unet("pixels")
    draw, host = drawing(models, unet), {"unet": unet}
    locked, lora = draw(), fresh(host)
    with attach(host, lora, blocks=dict.fromkeys(("BASE", "IN01", "IN02", "IN03", "MID", "OUT00"), 0.0)):
        assert not torch.equal(draw(), locked)
    blocks = ("BASE", "IN00", "IN01", "IN02", "IN03", "MID", "OUT00", "OUT01", "OUT02", "OUT03")
    with attach(host, lora, blocks=dict.fromkeys(blocks, 0.0)):
        assert torch.equal(draw(), locked)


@pytest.mark.parametrize("kind", [CLIPTextModel, CLIPTextModelWithProjection])
def test_text_encoders(kind: Any) -> None:
    encoder = text_encoder(kind)
    tokens = torch.arange(12).reshape(2, 6)
    host = {"text_encoder": encoder}
    lora = fresh(host, LoraConfig(parts=["text_encoder"], targets=["attention", "feed-forward"]))
    assert len(lora.adapters) == 2 * 6
    assert all(address.startswith("text_encoder.text_model.encoder.layers.") for address in lora.adapters)
    silent = encoder(tokens)[0]
    attached = attach(host, lora)
    assert (encoder(tokens)[0] - silent).abs().max() > 1e-3
    attached.detach()
    assert torch.equal(encoder(tokens)[0], silent)


def test_inside_a_control_branch(models: Any) -> None:
    unet = models.unet("sd15")
    (sample, timestep, text), condition = models.inputs(unet), models.condition("sd15")
    net = build(unet, 8)
    models.awaken(net)
    net.requires_grad_(False)

    def draw() -> Tensor:
        return predict(unet, sample, timestep, text, [Control(net, condition)])

    before, locked, base = fingerprint(net), draw(), predict(unet, sample, timestep, text)
    attached = attach(net, fresh(net, LoraConfig(parts=["control"], targets=["attention", "convolutions"])))
    assert (draw() - locked).abs().max() > 1e-4
    assert torch.equal(predict(unet, sample, timestep, text), base), "the base below it is not touched"
    assert fingerprint(net) == before
    attached.detach()
    assert torch.equal(draw(), locked)


def test_a_copy_of_a_model_is_a_copy_of_the_model_alone(models: Any) -> None:
    """A trainable encoder that is copied while a LoRA is attached does not carry it along."""
    unet = models.unet("sd15")
    host = {"unet": unet}
    locked = drawing(models, unet)()
    with attach(host, fresh(host)):
        twin = copy.deepcopy(unet)
        assert torch.equal(drawing(models, twin)(), locked)
        with attach({"unet": twin}, fresh(host)):
            assert torch.equal(drawing(models, twin)(), drawing(models, unet)())
    assert torch.equal(drawing(models, twin)(), locked)


def test_beside_projections_that_are_kept(models: Any) -> None:
    """`projected_once` remembers what the base says of a text; a weight set later is heard all the same."""
    unet = models.unet("sd15")
    draw, host = drawing(models, unet), {"unet": unet}
    lora = fresh(host)
    with attach(host, lora, 0.9):
        expected = draw()
    attached = attach(host, lora, 0.1)
    with torch.no_grad(), projected_once(unet):
        draw()
        attached.weight = 0.9
        assert torch.equal(draw(), expected)
        attached.detach()
        draw()
    assert hooks(unet) == 0


def test_in_half_precision_it_speaks_in_the_base_s(models: Any) -> None:
    unet = models.unet("sd15").to(torch.bfloat16)
    sample, timestep, text = models.inputs(unet)
    host = {"unet": unet}
    with torch.no_grad(), attach(host, fresh(host)):
        assert predict(unet, sample.bfloat16(), timestep, text.to(torch.bfloat16)).dtype == torch.bfloat16


def test_under_autocast(models: Any) -> None:
    unet = models.unet("sd15")
    host = {"unet": unet}
    with torch.autocast("cpu", torch.bfloat16), attach(host, fresh(host)):
        assert drawing(models, unet)().isfinite().all()


@pytest.mark.parametrize(
    ("targets", "family", "count"),
    [
        # SD 1.x and 2.x have 16 transformers of one block, and 22 resnets, 13 of which (here) change the width.
        (["cross-attention"], "sd15", 16 * 4),
        (["attention"], "sd15", 16 * 8),
        (["attention", "feed-forward"], "sd15", 16 * 10),
        (["attention", "feed-forward", "projections"], "sd21", 16 * 12),
        (["convolutions"], "sd15", 22 * 2 + 13 + 6),
        (["attention"], "pixels", (1 + 1 + 2) * 4),
    ],
)
def test_targets(models: Any, targets: list[str], family: str, count: int) -> None:
    lora = build_lora({"unet": models.unet(family)}, LoraConfig(targets=targets))
    assert len(lora.adapters) == count


def test_the_default_is_all_attention(models: Any) -> None:
    host = {"unet": models.unet("sdxl")}
    lora = build_lora(host)
    assert {address.split(".")[-1] for address in lora.adapters} == {"to_q", "to_k", "to_v", "0"}
    assert {adapter.rank for adapter in lora.adapters.values()} == {8}
    assert all(adapter.scale == 1 for adapter in lora.adapters.values())
    names = lora.state_dict().keys()
    assert names == {f"{address}.{factor}" for address in lora.adapters for factor in ("down", "up")}


def test_rank_and_alpha_by_layer(models: Any) -> None:
    config = LoraConfig(rank=4, targets=["attention", "convolutions"], ranks={"resnets": 2}, alphas={"attn2": 1.0})
    for address, adapter in build_lora({"unet": models.unet("sd15")}, config).adapters.items():
        assert adapter.rank == (2 if "resnets" in address else 4)
        assert adapter.scale == (1 / 4 if "attn2" in address else 1)


def test_the_family_is_one_sentence(models: Any) -> None:
    lora = build_lora({"unet": models.unet("sdxl")})
    with pytest.raises(ConfigError, match=r"made for text of width 96, and this base hears 48; use one of its family$"):
        attach({"unet": models.unet("sd15")}, lora)


def test_real_widths_are_called_by_their_family() -> None:
    class Unet(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.config = {"cross_attention_dim": width}
            self.attn2 = nn.Module()
            self.attn2.to_k = nn.Linear(width, 8)

    (address, layer), *_ = [each for each in layers({"unet": Unet(2048)}) if isinstance(each[1], nn.Linear)]
    assert isinstance(layer, nn.Linear)
    lora = Lora({address: LowRank.fresh(layer, 1)})
    said = "it was made for text of width 2048 (SDXL), and this base hears 768 (SD 1.x)"
    assert misfit(lora, {"unet": Unet(768)}) == said


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"parts": ["unett"]}, "there is no 'unett' to put a LoRA into; did you mean 'unet'"),
        ({"targets": ["atention"]}, "did you mean 'attention'"),
        ({"parts": ["text_encoder"], "targets": ["convolutions"]}, "no layer of text_encoder is in convolutions"),
    ],
)
def test_what_can_t_be_built(models: Any, config: Mapping[str, Any], words: str) -> None:
    host = {"unet": models.unet("sd15"), "text_encoder": text_encoder()}
    with pytest.raises(ConfigError, match=words):
        build_lora(host, LoraConfig(**config))


def test_what_can_t_be_attached(models: Any) -> None:
    unet = models.unet("sd15")
    host = {"unet": unet}
    lora = fresh(host)
    with pytest.raises(InputError, match="LoRA weight nan is not a number"):
        attach(host, lora, math.nan)
    with pytest.raises(ConfigError, match="did you mean 'MID'"):
        attach(host, lora, blocks={"MIT": 1.0})
    both = {"unet": unet, "text_encoder": text_encoder()}
    heard = build_lora(both, LoraConfig(parts=["unet", "text_encoder"]))
    with pytest.raises(ConfigError, match=r"changes 8 layers that this base lacks \(text_encoder\.text_model"):
        attach(host, heard)
    with pytest.raises(ConfigError, match=r"conv_in changes weights of \(64, 64, 3, 3\), and the base has \(32, 4"):
        attach(host, Lora({"unet.conv_in": LowRank.fresh(nn.Conv2d(64, 64, 3), 1)}))
    assert hooks(unet) == 0
