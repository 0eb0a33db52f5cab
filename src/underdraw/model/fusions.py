"""Fusions: how a control's signal s meets the locked skip h. Each gives a delta δ, and h' = h + Σ w·m·δ.

    add        δ = s
    residual   δ = α·s                                    α learned or set, one a site, never 0 at the start
    concat     δ = W[h; s] - h                            W a 1×1 convolution that starts as [I | I]
    attention  δ = O·(A(h, s) - A(h, 0))                  A = Attn(Q(s), K(h), V(h)), no biases

The law: δ(h, 0) = 0 at initialisation, with a live gradient in s. So the silence of a new control is all in its
taps; were a fusion silent by a scale of zero, zero times zero would never learn.
"""

import inspect

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from underdraw.config import Config
from underdraw.errors import ConfigError
from underdraw.registry import Registry, nearest


class FusionConfig(Config):
    """The `[fusion]` table of a recipe."""

    kind: str = "add"
    """add, residual, concat or attention."""
    options: dict[str, bool | int | float] = Field(default_factory=dict)
    """The fusion's own settings: residual: alpha, learned; attention: heads, reverse, joint."""


FUSIONS: Registry[type[nn.Module]] = Registry("fusion")
"""Fusions of one site: built from its channels, called with (skip, signal), both B×C×h×w; gives δ, B×C×h×w."""


def build_fusion(config: FusionConfig, channels: int) -> nn.Module:
    """The fusion of one site. Raises ConfigError for an unknown kind or option."""
    kind = FUSIONS[config.kind]
    known = [name for name in inspect.signature(kind).parameters if name != "channels"]
    for name in config.options:
        if name not in known:
            raise ConfigError(f"fusion {config.kind!r} has no option {name!r}; {nearest(name, known or ['none'])}")
    return kind(channels, **config.options)


@FUSIONS.register("add")
class Add(nn.Module):
    """δ = s: the ControlNet's own."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """The signal itself."""
        return signal


@FUSIONS.register("residual")
class Residual(nn.Module):
    """δ = α·s with one strength α a site, `learned` from `alpha` on or kept there."""

    def __init__(self, channels: int, alpha: float = 1.0, learned: bool = True) -> None:
        super().__init__()
        if alpha == 0:
            raise ConfigError("fusion residual with alpha = 0 would never learn; start it at another value")
        self.alpha: Tensor
        start = torch.tensor(float(alpha))
        if learned:
            self.alpha = nn.Parameter(start)
        else:
            self.register_buffer("alpha", start)

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """The signal at this site's strength."""
        return self.alpha * signal


@FUSIONS.register("concat")
class Concat(nn.Module):
    """δ = W[h; s] - h, a 1×1 convolution of both, which starts as [I | I] and so as `add`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        identity = torch.eye(channels)[:, :, None, None]
        self.weight = nn.Parameter(identity.repeat(1, 2, 1, 1))
        self.register_buffer("carried", torch.cat([identity, torch.zeros_like(identity)], dim=1), persistent=False)
        self.carried: Tensor

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """W[h; s] - h."""
        # (W - [I | 0])[h; s] is the same thing, without the rounding of h + s - h: silence is exact in any precision.
        return functional.conv2d(torch.cat([skip, signal], dim=1), self.weight - self.carried)


@FUSIONS.register("attention")
class Attention(nn.Module):
    """δ = O·(A(h, s) - A(h, 0)): every place looks over the whole picture. No biases, so s = 0 is silent for ever.

    A(h, s) = Attn(Q(s), K(h), V(h)): the signal asks, the skip answers. At s = 0 all answers are the mean of V(h). (So
    a site of a single place, the middle of a very small picture, has nothing to choose from and stays silent.)
    reverse: the skip asks, the signal answers: Attn(Q(h), K(s), V(s)).
    joint: keys and values come from both, [h; s], one sequence of twice the length (self- instead of cross-attention).
    heads: 0 chooses heads of about 64 channels.
    """

    def __init__(self, channels: int, heads: int = 0, reverse: bool = False, joint: bool = False) -> None:
        super().__init__()
        self.heads = heads or max(count for count in range(1, max(1, channels // 64) + 1) if channels % count == 0)
        if channels % self.heads:
            raise ConfigError(
                f"fusion attention can't split {channels} channels into {self.heads} heads; choose a divisor"
            )
        self.reverse, self.joint = reverse, joint
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.out = nn.Linear(channels, channels, bias=False)

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """O·(A(h, s) - A(h, 0)), over the h·w places of the site."""
        known, said = _tokens(skip), _tokens(signal)
        told = self._asked_by_skip(known, said) if self.reverse else self._asked_by_signal(known, said)
        delta: Tensor = self.out(told)
        return delta.transpose(1, 2).reshape(skip.shape)

    def _asked_by_signal(self, known: Tensor, said: Tensor) -> Tensor:
        context = torch.cat([known, said], dim=1) if self.joint else known
        # One zero query rides along: its answer is A(h, 0) from the very same kernel, so the difference is silent.
        queries = torch.cat([said, torch.zeros_like(said[:, :1])], dim=1)
        answers = self._attend(queries, context)
        return answers[:, :-1] - answers[:, -1:]

    def _asked_by_skip(self, known: Tensor, said: Tensor) -> Tensor:
        if not self.joint:
            return self._attend(known, said)  # values without bias: at s = 0 there is nothing to say
        silence = torch.cat([known, torch.zeros_like(said)], dim=1)
        return self._attend(known, torch.cat([known, said], dim=1)) - self._attend(known, silence)

    def _attend(self, asking: Tensor, context: Tensor) -> Tensor:
        """Attention of B×N×C tokens to B×M×C tokens, head by head."""
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, asking), (self.key, context), (self.value, context))
        )
        return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _tokens(features: Tensor) -> Tensor:
    """B×C×h×w as B×(h·w)×C."""
    return features.flatten(2).transpose(1, 2)
