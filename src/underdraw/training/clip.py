"""Learning a small CLIP: captions and pictures side by side (Radford et al. 2021, section 2.3)."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import torch
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from underdraw.data.batches import PictureSet, batch_indices, generators
from underdraw.data.exchange import things, wrong_caption
from underdraw.errors import ConfigError
from underdraw.training.pictures import WHOLE, Share
from underdraw.training.recipe import Clip, Recipe
from underdraw.training.sheets import mosaic

__all__ = ["ClipTask", "build_clip", "contrast", "learn_vocabulary", "tokenize"]

MEAN, SPREAD = 0.5, 0.25
"""Pictures enter the image tower as (picture - 0.5) / 0.25."""


def learn_vocabulary(captions: Iterable[str], config: Clip) -> CLIPTokenizer:
    """A byte-level BPE of the captions as a `CLIPTokenizer`; any text can be spelt with it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = alphabet + [f"{letter}</w>" for letter in alphabet]
    trained = CLIPTokenizer().train_new_from_iterator(captions, config.vocabulary - len(alphabet))
    model = json.loads(trained.backend_tokenizer.to_str())["model"]
    words = dict.fromkeys([*letters, *sorted(model["vocab"], key=model["vocab"].__getitem__)])
    merges = [tuple(merge) for merge in model["merges"]]
    return CLIPTokenizer({word: i for i, word in enumerate(words)}, merges, model_max_length=config.tokens)


def build_clip(config: Clip, tokenizer: CLIPTokenizer, size: int) -> CLIPModel:
    """A randomly initialised `CLIPModel` for pictures of `size` pixels."""
    tower = {"hidden_size": config.width, "intermediate_size": 4 * config.width}
    tower |= {"num_hidden_layers": config.layers, "num_attention_heads": config.heads, "projection_dim": config.width}
    text = tower | {"vocab_size": len(tokenizer), "max_position_embeddings": config.tokens}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text |= {"pad_token_id": tokenizer.pad_token_id}
    vision = tower | {"image_size": size, "patch_size": config.patch}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=config.width))


def tokenize(tokenizer: CLIPTokenizer, captions: list[str], whole: bool = True) -> Tensor:
    """B×L token ids; L is the model's length, or (not `whole`) that of the longest caption."""
    padding = "max_length" if whole else "longest"
    ids: Tensor = tokenizer(captions, padding=padding, truncation=True, return_tensors="pt").input_ids
    return ids


class ClipTask:
    """Each caption must find its picture in the batch, and each picture its caption."""

    def __init__(self, recipe: Recipe, config: Clip, pictures: PictureSet, watched: PictureSet) -> None:
        self.recipe, self.config, self.pictures, self.watched = recipe, config, pictures, watched
        captions = [text for texts in pictures.texts for text in texts]
        shown = [(("objects" in attributes), things(attributes)) for attributes in pictures.attributes]
        self.names = {
            room: sorted({name for r, found in shown if r == room for name in found}) for room in (True, False)
        }
        self.tokenizer = learn_vocabulary(captions, config)
        torch.manual_seed(recipe.seed)
        self.clip = build_clip(config, self.tokenizer, pictures.pixels.shape[-1]).to(recipe.device)
        self.module: nn.Module = self.clip

    def losses(self, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """`contrast`: the symmetric cross-entropy."""
        if share.parts > 1:
            raise ConfigError("a CLIP tells pictures of a whole batch apart; set accumulate = 1 and use one process")
        indices = batch_indices(self.recipe.seed, step, self.recipe.batch, len(self.pictures))
        draws = generators(self.recipe.seed, step, range(len(indices)))
        captions = [_pick(self.pictures.texts[int(i)], draw) for i, draw in zip(indices, draws, strict=True)]
        pictures = _shift(self.pictures.pictures(indices), draws)
        wrong = self._wrong(indices, captions, draws) if self.config.wrong_captions else []
        return {"contrast": contrast(self._similarities(pictures, captions + wrong))}

    def _wrong(self, indices: Tensor, captions: list[str], draws: list[torch.Generator]) -> list[str]:
        """The captions that have a wrong twin, made wrong; Chinese ones have none."""
        found = []
        for row, caption, draw in zip(indices.tolist(), captions, draws, strict=True):
            attributes, random = self.pictures.attributes[row], Random(int(torch.randint(2**62, (), generator=draw)))
            found.append(wrong_caption(caption, attributes, self.names["objects" in attributes], random))
        return [wrong for wrong in found if wrong]

    def _similarities(self, pictures: Tensor, captions: list[str]) -> Tensor:
        """B×L logits of B pictures and L captions, a row a picture."""
        ids = tokenize(self.tokenizer, captions, whole=False).to(self.recipe.device)
        output = self.clip(pixel_values=((pictures - MEAN) / SPREAD).to(ids.device), input_ids=ids)
        logits: Tensor = output.logits_per_image.float()
        return logits

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """How often a watched picture finds its caption among 100."""
        hits = []
        for start in range(0, len(self.watched) - 99, 100):
            indices = torch.arange(start, start + 100)
            captions = [self.watched.texts[int(i)][0] for i in indices]
            logits = self._similarities(self.watched.pictures(indices), captions).cpu()
            hits.append((logits.argmax(1) == torch.arange(100)).float())
        return {"top1of100": float(torch.cat(hits).mean())}

    @torch.no_grad()
    def sheet(self) -> Tensor:
        """Watched captions' favourite pictures: a row a caption, the true picture first."""
        chosen = torch.arange(0, len(self.watched), max(1, len(self.watched) // 64))[:64]
        pictures = self.watched.pictures(chosen)
        logits = self._similarities(pictures, [self.watched.texts[int(i)][0] for i in chosen]).cpu()
        best = logits.t()[:8].topk(7).indices
        rows = [torch.cat([pictures[i : i + 1], pictures[best[i]]]) for i in range(8)]
        return mosaic(torch.cat(rows), columns=8)

    def export(self, folder: Path) -> None:
        """Write the whole CLIP and its tokenizer."""
        self.clip.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.tokenizer.backend_tokenizer.model.save(str(folder))  # vocab.json and merges.txt, which older readers want


def contrast(logits: Tensor) -> Tensor:
    """Symmetric cross-entropy of B×L logits, L >= B, against the diagonal.

    Captions beyond the B-th belong to no picture: pictures must be told from them, but they look for none.
    """
    truth = torch.arange(len(logits), device=logits.device)
    captions = logits[:, : len(logits)].t()
    return (functional.cross_entropy(logits, truth) + functional.cross_entropy(captions, truth)) / 2


def _pick(texts: Sequence[str], draw: torch.Generator) -> str:
    """One of a picture's captions; the first (English) as often as all the others together."""
    first = len(texts) == 1 or bool(torch.rand((), generator=draw) < 0.5)
    return texts[0] if first else texts[1 + int(torch.randint(len(texts) - 1, (), generator=draw))]


def _shift(pictures: Tensor, draws: list[torch.Generator], reach: int = 4) -> Tensor:
    """Each picture moved by up to `reach` pixels, its border repeated."""
    padded = functional.pad(pictures, (reach,) * 4, mode="replicate")
    height, width = pictures.shape[-2:]
    moved = []
    for picture, draw in zip(padded, draws, strict=True):
        top, left = torch.randint(2 * reach + 1, (2,), generator=draw).tolist()
        moved.append(picture[:, top : top + height, left : left + width])
    return torch.stack(moved)
