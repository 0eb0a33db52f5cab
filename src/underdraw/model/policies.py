"""What trains: said once, by `requires_grad` alone. Autograd then builds no graph for the locked encoder."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from underdraw.registry import Registry


@dataclass(frozen=True)
class Policy:
    """Which parts of the U-Net train beside the control, and to which sites the control speaks."""

    unlocked: tuple[str, ...] = ()
    sites: Literal["all", "middle"] = "all"


POLICIES: Registry[Policy] = Registry("policy")
POLICIES.register("locked")(Policy())
POLICIES.register("decoder")(Policy(unlocked=("up_blocks", "conv_norm_out", "conv_out")))
POLICIES.register("all")(Policy(unlocked=("",)))
POLICIES.register("only-middle")(Policy(sites="middle"))
# The adapters of a LoRA are modules of their own and train as they are; the base below them is as locked as ever.
POLICIES.register("lora")(Policy())


def apply_policy(unet: nn.Module, name: str) -> Policy:
    """Lock the whole U-Net, then unlock what the policy names. Raises ConfigError for an unknown policy.

    Build the control with `BranchConfig(sites=policy.sites)`.
    """
    policy = POLICIES[name]
    unet.requires_grad_(False)
    for part in policy.unlocked:
        unet.get_submodule(part).requires_grad_(True)
    return policy


def trainable(*modules: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters that train, each once."""
    seen: set[int] = set()
    for module in modules:
        for parameter in module.parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter
