"""What is told of attention is what the bridge does."""

from __future__ import annotations

import numpy as np
import torch

from codi.bridge import Bridge
from codi.evaluation.attention import watch
from codi.types import Tokens


def test_rows_sum_to_one_and_a_token_that_draws_all_is_where_it_stands():
    torch.manual_seed(0)
    bridge = Bridge({"a.b": 8})
    states = torch.zeros(1, 4, 192)
    times = torch.tensor([0.25, 0.75, 1.25, torch.nan], dtype=torch.float64)
    hidden, queries = torch.randn(1, 2, 8), torch.tensor([0.1, 1.9], dtype=torch.float64)
    with watch(bridge, bins=4) as seen:
        for _ in range(2):
            bridge.read("a.b", hidden, queries, bridge.prepare(Tokens(states, times)))
    assert len(seen.passes) == 2 and seen.passes[0].shape == (4, 5)
    assert np.allclose(seen.passes[0][[0, 3]].sum(1), 1) and not seen.passes[0][[1, 2]].any()
    # The last column holds the token without a time and the sink, two of five.
    assert 0 < seen.passes[0][0, 4] < 1
    assert "read" not in vars(bridge) and "prepare" not in vars(bridge)


def test_watching_changes_nothing(pipe):
    pair = {"inputs": "a ball", "outputs": ["audio", "video"], "seed": 1}
    asked = {**pair, "num_inference_steps": 2, "bridge_start": 0.0}
    plain = pipe(**asked).audio.samples
    with watch(pipe.audio_bridge) as seen:
        assert np.array_equal(pipe(**asked).audio.samples, plain)
    assert len(seen.passes) == 2
