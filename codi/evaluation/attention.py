"""What bridges attend to: the weights of an output's readers over its partners' tokens, by time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from codi.bridge import Bridge, KeysValues
from codi.types import Tokens


@dataclass
class Watched:
    """What was seen of one bridge.

    Attributes:
        bins: moments in a clip, for queries and for tokens.
        duration: of the clip in seconds.
        passes: [bins, bins + 1] of each pass with the bridge on, in order: from the reader's moments to the partners',
            the last column what goes to tokens without a time and to the sink; rows sum to 1.
    """

    bins: int
    duration: float
    passes: list[np.ndarray] = field(default_factory=list)
    times: torch.Tensor | None = None
    sum: np.ndarray | None = None

    def place(self, times: torch.Tensor) -> torch.Tensor:
        """Bins of moments; the one after the last where there is no time."""
        bins = (times / self.duration * self.bins).nan_to_num(self.bins).long()
        return torch.where(times.isnan(), self.bins, bins.clamp(0, self.bins - 1))

    def close(self) -> None:
        """End a pass."""
        if self.sum is not None:
            self.passes.append(self.sum / self.sum.sum(1, keepdims=True).clip(1e-9))
        self.sum = None

    def add(self, weights: torch.Tensor, queries: torch.Tensor) -> None:
        """Weights [positions, tokens + 1] of one site, its sink last, at the queries' times."""
        assert self.times is not None
        rows = torch.nn.functional.one_hot(self.place(queries), self.bins + 1).to(weights)[:, : self.bins]
        sink = torch.tensor([self.bins])
        columns = torch.nn.functional.one_hot(torch.cat([self.place(self.times), sink]), self.bins + 1).to(weights)
        seen = (rows.T @ weights @ columns).double().cpu().numpy()
        self.sum = seen if self.sum is None else self.sum + seen


@contextmanager
def watch(bridge: Any, bins: int = 16, duration: float = 2.0) -> Iterator[Watched]:
    """Record what a bridge's readers attend to while the context lasts.

    Args:
        bridge: a component such as `pipe.audio_bridge`.
        bins: moments that a clip is divided into.
        duration: of the clip in seconds.
    """
    assert isinstance(bridge, Bridge)
    seen, prepare, read = Watched(bins, duration), bridge.prepare, bridge.read

    def prepared(tokens: Tokens) -> KeysValues:
        seen.close()
        seen.times = tokens.times
        return prepare(tokens)

    @torch.no_grad()
    def watched(site: str, hidden: torch.Tensor, times: torch.Tensor, tokens: KeysValues) -> torch.Tensor:
        query = bridge.query(site, hidden, times)
        logits = query @ tokens.keys.transpose(-1, -2) * query.shape[-1] ** -0.5
        seen.add(logits.softmax(-1).mean((0, 1)), times)
        return read(site, hidden, times, tokens)

    bridge.prepare, bridge.read = prepared, watched  # type: ignore[method-assign]
    try:
        yield seen
        seen.close()
    finally:
        del bridge.prepare, bridge.read  # type: ignore[method-assign]
