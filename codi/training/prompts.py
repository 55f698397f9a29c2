"""Stages `prompt_text` and `prompt_<modality>`: the shared space, with text as the pivot.

Text first: two wordings of the same facts come together, different facts apart, and linear heads read each fact (or
its absence) from the tokens. Then every other modality alone against the frozen text tokens of captions that state
exactly what it shows, so that a modality added later needs no other one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn import functional

from codi.conditioning import SHARED_TOKENS, SHARED_WIDTH
from codi.modalities.text.prompt import TextPromptEncoder
from codi.training.facts import CaptionBank, caption_bank, facts_of
from codi.training.loop import FitConfig, Losses, fit, runs_folder
from codi.worlds.sounding_shapes.factors import FACTORS, SHOWN
from codi.worlds.sounding_shapes.scene import Scene, sample_scene

Encode = Callable[[list[Scene], np.random.Generator], torch.Tensor]


class FactHeads(nn.Module):
    """Linear readers of each fact from the flattened tokens; class 0 is "not named". Used in training only."""

    def __init__(self) -> None:
        super().__init__()
        width = SHARED_WIDTH * SHARED_TOKENS
        self.heads = nn.ModuleList(nn.Linear(width, 1 + len(values)) for values in FACTORS.values())

    def forward(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """[batch, K, width] -> logits [batch, 1 + values] per factor."""
        return [head(tokens.flatten(1)) for head in self.heads]

    def loss(self, tokens: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy; facts: [batch, factors], -1 where not named."""
        pairs = zip(self(tokens), facts.T + 1, strict=True)
        return torch.stack([functional.cross_entropy(logits, truth) for logits, truth in pairs]).mean()

    def accuracy(self, tokens: torch.Tensor, facts: torch.Tensor) -> dict[str, float]:
        """Share of facts read correctly, per factor."""
        pairs = zip(FACTORS, self(tokens), facts.T + 1, strict=True)
        return {name: float((logits.argmax(-1) == truth).float().mean()) for name, logits, truth in pairs}


def similarity(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of the cosine between every pair: [n, K, c], [m, K, c] -> [n, m]."""
    a = functional.normalize(left, dim=-1).flatten(1)
    b = functional.normalize(right, dim=-1).flatten(1)
    return a @ b.T / left.shape[1]


def contrastive(
    left: torch.Tensor, right: torch.Tensor, facts: torch.Tensor, temperature: float = 0.05
) -> torch.Tensor:
    """InfoNCE both ways (CLIP, Radford et al. 2021, figure 3); pairs of equal facts are all positives."""
    logits = similarity(left, right) / temperature
    same = (facts[:, None] == facts[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


class TextPivot(nn.Module):
    """The text prompt encoder with its training heads."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TextPromptEncoder()
        self.heads = FactHeads()


def train_text(settings: DictConfig) -> None:
    """Stage `prompt_text`."""
    torch.manual_seed(0)
    bank, model = caption_bank(), TextPivot()
    pairs = len(bank.texts) // 2 - 500

    def tokens(rows: torch.Tensor, rng: np.random.Generator | None) -> torch.Tensor:
        hidden, mask = bank.hidden[rows].float(), bank.mask[rows].clone()
        if rng is not None:
            hidden = hidden + 0.1 * torch.randn_like(hidden) * hidden.std()
            dropped = torch.from_numpy(rng.random(mask.shape) < 0.03)
            dropped[:, 0] = False
            mask[dropped] = 0
        return model.encoder(hidden, mask)

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        first = torch.from_numpy(rng.integers(0, pairs, batch)) * 2
        one, two, facts = tokens(first, rng), tokens(first + 1, rng), bank.facts[first]
        meet = contrastive(one, two, facts)
        read = (model.heads.loss(one, facts) + model.heads.loss(two, facts)) / 2
        close = 1 - functional.cosine_similarity(one, two, dim=-1).mean()
        return {"loss": meet + 2 * read + close, "contrastive": meet, "read": read, "close": close}

    def validate() -> dict[str, float]:
        rows = torch.arange(2 * pairs, len(bank.texts))
        with torch.no_grad():
            return model.heads.accuracy(tokens(rows, None), bank.facts[rows])

    folder = fit("prompt_text", model, loss, FitConfig(**settings.fit), validate)
    model.encoder.save_pretrained(folder / "final")
    torch.save(model.heads.state_dict(), folder / "heads.pt")


def load_pivot() -> TextPivot:
    """The finished text stage, frozen."""
    folder, model = runs_folder() / "prompt_text", TextPivot()
    model.encoder = TextPromptEncoder.from_pretrained(folder / "final")
    if not (folder / "heads.pt").exists():
        _fit_heads(model)
        torch.save(model.heads.state_dict(), folder / "heads.pt")
    model.heads.load_state_dict(torch.load(folder / "heads.pt", weights_only=True))
    return model.eval().requires_grad_(False)


def _fit_heads(model: TextPivot, steps: int = 400) -> None:
    """Heads for an encoder that came out of a bundle, which holds none."""
    torch.manual_seed(0)
    bank = caption_bank()
    tokens = bank_tokens(bank, model.encoder)
    optimizer = torch.optim.AdamW(model.heads.parameters(), 3e-3)
    for _ in range(steps):
        rows = torch.randint(len(tokens), (256,))
        loss = model.heads.loss(tokens[rows].float(), bank.facts[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def bank_tokens(bank: CaptionBank, encoder: TextPromptEncoder) -> torch.Tensor:
    """Tokens of every caption of the bank, [N, K, width] in half precision."""
    parts = zip(bank.hidden.split(256), bank.mask.split(256), strict=True)
    return torch.cat([encoder(hidden.float(), mask).half() for hidden, mask in parts])


def train_medium(name: str, model: nn.Module, encode: Encode, settings: DictConfig) -> None:
    """Stage `prompt_<name>`: align the encoder of one medium to the frozen text tokens.

    Args:
        name: the modality.
        model: its prompt encoder.
        encode: scenes -> tokens through `model`, rendering and augmentation included.
    """
    pivot, bank = load_pivot(), caption_bank()
    table, captions = bank.index(), bank_tokens(bank, pivot.encoder)
    shown = set(SHOWN[name])

    def draw(rng: np.random.Generator, batch: int) -> tuple[list[Scene], torch.Tensor, torch.Tensor]:
        scenes: list[Scene] = []
        while len(scenes) < batch:
            scene = sample_scene(rng)
            if facts_of(scene, shown) in table:
                scenes.append(scene)
        facts = [facts_of(scene, shown) for scene in scenes]
        rows = [int(rng.choice(table[f])) for f in facts]
        return scenes, torch.tensor(facts), captions[rows].float()

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        scenes, facts, text = draw(rng, batch)
        tokens = encode(scenes, rng)
        meet = contrastive(tokens, text, facts)
        close = 1 - functional.cosine_similarity(tokens, text, dim=-1).mean()
        read = pivot.heads.loss(tokens, facts)
        return {"loss": meet + 4 * close + read, "contrastive": meet, "close": close, "read": read}

    def validate() -> dict[str, float]:
        rng = np.random.default_rng(3)
        scenes, facts, _ = draw(rng, 256)
        with torch.no_grad():
            return pivot.heads.accuracy(encode(scenes, rng), facts)

    folder = fit(f"prompt_{name}", model, loss, FitConfig(**settings.fit), validate)
    model.save_pretrained(folder / "final")  # type: ignore[operator]


def settings_of(settings: DictConfig) -> dict[str, object]:
    """The `model` part of a stage's configuration as keyword arguments."""
    return dict(OmegaConf.to_container(settings.get("model", OmegaConf.create()), resolve=True))  # type: ignore[arg-type]
