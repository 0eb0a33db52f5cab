"""Who takes the steps: torch's optimizers by the names that people use."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from underdraw.errors import ConfigError, MissingExtra
from underdraw.training.processes import divided
from underdraw.training.recipe import Optimizer, Recipe
from underdraw.training.rounding import RoundedAdamW

__all__ = ["build_optimizer", "learning_rate"]

Parameters = Iterable[nn.Parameter]


def build_optimizer(parameters: Parameters, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of a recipe over the parameters that learn.

    Raises MissingExtra for 8 bits without its package, ConfigError for one that can't keep its weights in bf16.
    """
    learning, chosen = [parameter for parameter in parameters if parameter.requires_grad], recipe.optimizer
    if recipe.precision != "bf16-weights":
        return OPTIMIZERS[chosen.kind](learning, chosen)
    if chosen.kind != "adamw":
        raise ConfigError(f"precision = bf16-weights is learnt by adamw, not by {chosen.kind}; choose one of the two")
    return RoundedAdamW(learning, chosen.lr, chosen.betas, chosen.weight_decay, recipe.seed)


def _adamw(parameters: Parameters, chosen: Optimizer) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, chosen.lr, chosen.betas, weight_decay=chosen.weight_decay, fused=True)


def _adam(parameters: Parameters, chosen: Optimizer) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, chosen.lr, chosen.betas, weight_decay=chosen.weight_decay, fused=True)


def _sgd(parameters: Parameters, chosen: Optimizer) -> torch.optim.Optimizer:
    fused = not divided()  # torch has no fused kernel of it for weights that are divided among processes
    return torch.optim.SGD(parameters, chosen.lr, chosen.betas[0], weight_decay=chosen.weight_decay, fused=fused)


def _adafactor(parameters: Parameters, chosen: Optimizer) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(parameters, chosen.lr, weight_decay=chosen.weight_decay)


def _adamw8bit(parameters: Parameters, chosen: Optimizer) -> torch.optim.Optimizer:
    try:
        import bitsandbytes
    except ImportError as error:
        raise MissingExtra("bitsandbytes", "8bit") from error
    built: Any = bitsandbytes.optim.AdamW8bit(parameters, chosen.lr, chosen.betas, weight_decay=chosen.weight_decay)
    return built  # type: ignore[no-any-return]


OPTIMIZERS: dict[str, Callable[[Parameters, Optimizer], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "adafactor": _adafactor,
    "adamw8bit": _adamw8bit,
}


def learning_rate(optimizer: Optimizer, step: int, steps: int) -> float:
    """Rises over `warmup`, stays level, falls to nothing over the last `cooldown` steps."""
    rise = (step + 1) / max(1, optimizer.warmup)
    fall = (steps - step) / max(1, optimizer.cooldown)
    return optimizer.lr * min(1.0, rise, fall if optimizer.cooldown else 1.0)
