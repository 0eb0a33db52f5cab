"""Bytes, operations and seconds of computations that are known by heart."""

import torch
from torch import nn

from underdraw.training.probe import hollow, probing

SIZE = 4 * 256 * 256


def test_bytes_are_counted_while_they_live() -> None:
    with probing() as probe:
        kept = torch.empty(256, 256)
        assert probe.live == SIZE
        with probe.peaking() as peak:
            first = kept + 1
            second = first * 2
            del first
            third = second - 1
            assert probe.live == 3 * SIZE
            del second, third
        assert peak() == 3 * SIZE and probe.live == SIZE
        view = kept.view(-1)[:10]
        assert probe.live == SIZE and view.shape == (10,), "a view holds nothing of its own"


def test_gradients_and_states_are_counted_and_weights_are_hollow() -> None:
    with torch.device("meta"):
        layer = nn.Linear(256, 256, bias=False)
    with probing() as probe:
        hollow(layer)
        assert probe.live == SIZE
        optimizer = torch.optim.AdamW(layer.parameters())
        probe.weight = 1
        layer(torch.empty(8, 256)).square().sum().backward()
        probe.weight = 0
        assert layer.weight.grad is not None and probe.live == 2 * SIZE
        optimizer.step()
        optimizer.zero_grad()
        assert 3 * SIZE <= probe.live < 3 * SIZE + 1000
    assert probe.operations() == 2 * (2 * 8 * 256 * 256), "forward, and back to the weights"
    assert 0 < probe.seconds() < 1


def test_what_is_done_more_often_takes_longer() -> None:
    def taken(weight: int) -> float:
        with probing() as probe:
            probe.weight = weight
            _ = torch.empty(512, 512) @ torch.empty(512, 512)
        return probe.seconds()

    assert taken(20) > 5 * taken(1)
