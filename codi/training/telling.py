"""What hidden states must tell while they are learnt; the heads that ask are thrown away afterwards.

Features that name what matters teach a diffusion transformer far faster than its own error does (REPA, Yu et al. 2024,
section 3). A video denoiser's name where the object is and when something happens, environment tokens what there is to
see: partners read both.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from codi.environment import BRIDGE_WIDTH
from codi.training.critic import heads_of
from codi.worlds.sounding_shapes.factors import FACTORS, SHOWN


class Told(nn.Module):
    """Heads on the features of a clip's quarters.

    Args:
        width: of the hidden states, the first channels of the features.
        side: latent cells along a quarter.
    """

    def __init__(self, width: int, side: int = 4) -> None:
        super().__init__()
        self.width, self.side = width, side
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU())
        self.where = nn.Linear(width, side**2)
        self.when = nn.Linear(4 * width, 1)

    def forward(self, features: torch.Tensor, cells: torch.Tensor, events: torch.Tensor) -> torch.Tensor:
        """[] how far the features fall short of what is true.

        Args:
            features: [batch, frames * 4, channels].
            cells: [batch, 1, frames, 8, 8] 1 where a cell holds the object.
            events: [batch, frames] 1 in the frames of events.
        """
        hidden = self.body(features[..., : self.width])
        held = rearrange(cells, "b 1 f (h p) (w q) -> b (f h w) (p q)", p=self.side, q=self.side)
        heat = self.when(rearrange(hidden, "b (f s) c -> b f (s c)", s=4))[..., 0]
        missed = functional.binary_cross_entropy_with_logits
        return missed(self.where(hidden).float(), held) + missed(heat.float(), events)


class ToldFacts(nn.Module):
    """Heads on the environment tokens of each modality, for the factors that it can show."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: heads_of(BRIDGE_WIDTH, factors) for name, factors in SHOWN.items()})

    def forward(self, name: str, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits by factor: what tokens [batch, tokens, width] of a modality tell."""
        pooled = tokens.mean(1)
        heads = self.heads[name]
        assert isinstance(heads, nn.ModuleDict)
        return {factor: head(pooled) for factor, head in heads.items()}


def told_facts(read: Mapping[str, Mapping[str, torch.Tensor]], facts: torch.Tensor) -> torch.Tensor:
    """[batch, factors] facts that somebody tells, each as often as the surest is better than chance; else -1.

    Nothing more may be asked of an estimate: a critic that wants from it what only the truth knows bends it.

    Args:
        read: by modality, logits by factor.
        facts: [batch, factors], -1 where a factor does not apply.
    """
    columns = []
    for (name, values), true in zip(FACTORS.items(), facts.unbind(1), strict=True):
        rows = [row[name].detach().float().softmax(1) for row in read.values() if name in row]
        right = [row.gather(1, true.clamp_min(0)[:, None])[:, 0] for row in rows]
        chance = 1 / len(values)
        sure = (torch.stack(right).amax(0) - chance) / (1 - chance) if right else torch.zeros(len(true))
        columns.append(torch.where(torch.rand(len(true)) < sure, true, -1))
    return torch.stack(columns, 1)


def shown_facts(name: str, facts: torch.Tensor) -> torch.Tensor:
    """[batch, factors] of facts, those that a modality shows; else -1."""
    shows = torch.tensor([factor in SHOWN[name] for factor in FACTORS])
    return torch.where(shows, facts, -1)
