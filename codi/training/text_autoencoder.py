"""Stage `autoencoder_text`: captions through 8 latent tokens and back to words."""

from __future__ import annotations

import numpy as np
import torch
from omegaconf import DictConfig
from torch.nn import functional
from tqdm.auto import tqdm

from codi.modalities.text.autoencoder import END, START, TextAutoencoder
from codi.modalities.text.encoder import hidden_states
from codi.training.facts import LENGTH, caption_bank, sentence_encoder
from codi.training.loop import FitConfig, Losses, batches, built_once, fit, runs_folder
from codi.worlds.sounding_shapes.captions import full_caption
from codi.worlds.sounding_shapes.scene import sample_scene

Bank = dict[str, torch.Tensor]


def full_caption_bank(count: int = 12_000, seed: int = 6) -> Bank:
    """Canonical full captions: factors [N, 5], hidden [N, 32, 384] half, mask [N, 32], words [N, 32]."""
    from codi.training.facts import facts_of
    from codi.worlds.sounding_shapes.factors import FACTORS

    def build() -> Bank:
        rng = np.random.default_rng(seed)
        seen: dict[str, tuple[int, ...]] = {}
        for _ in range(count):
            scene = sample_scene(rng)
            seen.setdefault(full_caption(scene, rng), facts_of(scene, set(FACTORS)))
        return {**_encode(list(seen)), "facts": torch.tensor(list(seen.values()))}

    return built_once(runs_folder() / f"full_captions_{count}_{seed}.pt", build)


@torch.no_grad()
def full_caption_latents() -> tuple[torch.Tensor, torch.Tensor]:
    """Canonical full captions as clean latents [N, 8, 16], by the finished stage; and their facts [N, factors]."""
    bank, autoencoder = full_caption_bank(), TextAutoencoder.from_pretrained(runs_folder() / "autoencoder_text/final")
    pairs = zip(bank["hidden"].split(256), bank["mask"].split(256), strict=True)
    return torch.cat([autoencoder.eval().encode(hidden.float(), mask) for hidden, mask in pairs]), bank["facts"]


def _encode(texts: list[str]) -> Bank:
    tokenizer, encoder = sentence_encoder()
    hidden, mask = [], []
    for rows in tqdm(list(batches(len(texts), 128)), desc="captions", mininterval=10):
        states, present = hidden_states(texts[rows], tokenizer, encoder, LENGTH)  # type: ignore[arg-type]
        hidden.append(states.half())
        mask.append(present.to(torch.uint8))
    words = tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt").input_ids  # type: ignore[operator]
    return {"hidden": torch.cat(hidden), "mask": torch.cat(mask), "words": words}


def train(settings: DictConfig) -> None:
    """Train on canonical full captions and, one time in three, on captions of any wording."""
    torch.manual_seed(0)
    full, free = full_caption_bank(), caption_bank()
    tokenizer, _ = sentence_encoder()
    free_words = tokenizer(  # type: ignore[operator]
        free.texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
    ).input_ids
    vocabulary = tuple(
        sorted({START, END, 0} | set(full["words"].unique().tolist()) | set(free_words.unique().tolist()))
    )
    index = torch.zeros(max(vocabulary) + 1, dtype=torch.long)
    index[list(vocabulary)] = torch.arange(len(vocabulary))
    model = TextAutoencoder(vocabulary=vocabulary)

    def losses(hidden: torch.Tensor, mask: torch.Tensor, words: torch.Tensor, noise: float) -> Losses:
        raw = model.encode_raw(hidden.float(), mask)
        noisy = raw + noise * raw.detach().std() * torch.randn_like(raw)
        target = index[words]
        logits = model.logits(noisy, target[:, :-1])
        said = target[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
        entropy = functional.cross_entropy(logits.flatten(0, 1), said.flatten(), ignore_index=-100)
        right = ((logits.argmax(-1) == said) | (said == -100)).all(1).float().mean()
        return {"loss": entropy + 1e-3 * raw.square().mean(), "entropy": entropy, "right": right}

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        rows = torch.from_numpy(rng.integers(0, len(full["words"]), batch * 2 // 3))
        more = torch.from_numpy(rng.integers(0, len(free_words), batch // 3))
        pairs = {"hidden": free.hidden, "mask": free.mask, "words": free_words}
        hidden, mask, words = (torch.cat([full[key][rows], other[more]]) for key, other in pairs.items())
        return losses(hidden, mask, words, noise=float(rng.choice([0.0, 0.1, 0.3])))

    def validate() -> dict[str, float]:
        with torch.no_grad():
            part = losses(full["hidden"][-512:], full["mask"][-512:], full["words"][-512:], 0.0)
        return {key: float(value) for key, value in part.items()}

    folder = fit("autoencoder_text", model, loss, FitConfig(**settings.fit), validate)
    with torch.no_grad():
        raw = model.encode_raw(full["hidden"][:2048].float(), full["mask"][:2048])
    shift, scale = raw.mean(dim=(0, 1)), 1 / raw.std(dim=(0, 1))
    model.register_to_config(shift=tuple(shift.tolist()), scale=tuple(scale.tolist()))
    model.save_pretrained(folder / "final")
