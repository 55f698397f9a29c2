"""The training set of the denoisers: scenes as latents and captions as prompt tokens, computed once.

Rendering and encoding a clip costs about as much as a training step on it, and every stage reads the same clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from omegaconf import DictConfig
from tqdm.auto import tqdm

from codi.modalities.audio.mel import mel_picture
from codi.networks.patch_autoencoder import PatchAutoencoder
from codi.training.facts import CAPTIONS, caption_bank, facts_of
from codi.training.loop import built_once, runs_folder
from codi.training.prompts import bank_tokens, load_pivot
from codi.types import Tokens
from codi.worlds.sounding_shapes.factors import FACTORS, FRAMES, SIDE
from codi.worlds.sounding_shapes.render import render_video, track_of
from codi.worlds.sounding_shapes.scene import HUES, Scene, sample_scene
from codi.worlds.sounding_shapes.sound import render_audio

CHUNK = 16


def scene_at(index: int) -> Scene:
    """The training scene of that index."""
    return sample_scene(np.random.default_rng((1234, index)))


def facts_table(count: int) -> torch.Tensor:
    """[count, factors] facts of the training scenes, -1 where a factor does not apply."""
    return torch.tensor([facts_of(scene_at(i), set(FACTORS)) for i in range(count)])


def event_frames(count: int) -> torch.Tensor:
    """[count, 16] 1 in the frames where something happens; a still scene has none."""
    heat = torch.zeros(count, FRAMES)
    for row, scene in zip(heat, map(scene_at, range(count)), strict=True):
        row[list(scene.event_frames if scene.motion != "still" else ())] = 1
    return heat


def object_cells(count: int, side: int = 8) -> torch.Tensor:
    """[count, 16, side, side] in 0..1: latent cells of each frame that the object of the training scene touches."""
    tracks = [track_of(scene_at(i)) for i in range(count)]
    x, y, radius = (
        torch.from_numpy(np.stack([getattr(t, k) for t in tracks])).float()[..., None, None]
        for k in ("x", "y", "radius")
    )
    cell = SIDE / side
    middle = (torch.arange(side) + 0.5) * cell
    distance = ((middle[None, :] - x).square() + (middle[:, None] - y).square()).sqrt()
    return (distance < 1.2 * radius + cell / 2).float()


@torch.no_grad()
def build(name: str, count: int, until: int) -> None:
    """Fill the latents of `name` ("video", "tinted", "audio" or "detuned"), going on where it stopped.

    Args:
        count: clips that the store has room for.
        until: stop after this many; training may begin on them.
    """
    modality, encode, shape = _ENCODERS[name]
    autoencoder = PatchAutoencoder.from_pretrained(runs_folder() / f"autoencoder_{modality}" / "final").eval()
    done = stored(name)
    path = _path(name)
    if not path.exists():
        open_memmap(path, "w+", np.float16, (count, *shape)).flush()
    store = open_memmap(path, "r+")
    for start in tqdm(range(done, until, CHUNK), desc=f"latents of {name}", mininterval=20):
        scenes = [scene_at(i) for i in range(start, min(start + CHUNK, until))]
        store[start : start + len(scenes)] = encode(autoencoder, scenes).half().numpy()
        store.flush()
        path.with_suffix(".count").write_text(str(start + len(scenes)))


def stored(name: str) -> int:
    """Clips whose latents are ready."""
    counter = _path(name).with_suffix(".count")
    return int(counter.read_text()) if counter.exists() else 0


def load(name: str) -> np.ndarray:
    """Latents [ready, ...] in half precision, memory-mapped: clips [n, 16, 12, 8, 8], sounds [n, 16, 4, 32]."""
    return np.load(_path(name), mmap_mode="r")[: stored(name)]


def _path(name: str) -> Path:
    return runs_folder() / f"latents_{name}.npy"


def _encode_video(autoencoder: PatchAutoencoder, scenes: list[Scene]) -> torch.Tensor:
    frames = torch.from_numpy(np.concatenate([render_video(scene) for scene in scenes]))
    latents = autoencoder.encode(frames.permute(0, 3, 1, 2).float() / 127.5 - 1)
    return latents.view(len(scenes), 16, *latents.shape[1:])


def _encode_tinted(autoencoder: PatchAutoencoder, scenes: list[Scene]) -> torch.Tensor:
    return _encode_video(autoencoder, [tinted(scene) for scene in scenes])


def _encode_audio(autoencoder: PatchAutoencoder, scenes: list[Scene]) -> torch.Tensor:
    return autoencoder.encode(mel_picture(torch.from_numpy(np.stack([render_audio(scene) for scene in scenes]))))


def _encode_detuned(autoencoder: PatchAutoencoder, scenes: list[Scene]) -> torch.Tensor:
    return _encode_audio(autoencoder, [detuned(scene) for scene in scenes])


def detuned(scene: Scene) -> Scene:
    """The scene with a sound between the notes, 0.8 to 1.5 semitones from the nearest: no colour's, at any shape."""
    rng = np.random.default_rng((scene.seed, 11))
    near, off = str(rng.choice(FACTORS["colour"])), float(rng.choice((-1, 1)) * rng.uniform(0.8, 1.5))
    return replace(scene, colour=near, voice=replace(scene.voice, detune=off))


def tinted(scene: Scene) -> Scene:
    """The scene with its object in a hue between two colours: its own, mirrored out of its colour's range.

    What lies deep in the range comes to lie deep in the gap beside it, on either side.
    """
    up = np.random.default_rng((scene.seed, 13)).random() < 0.5
    (low, high), hue = HUES[scene.colour], scene.look.hue
    if up:
        gap = min((start - high) % 360 for start, _ in HUES.values())
        hue = high + (high - hue) / (high - low) * gap / 2
    else:
        gap = min((low - end) % 360 for _, end in HUES.values())
        hue = low - (hue - low) / (high - low) * gap / 2
    return replace(scene, look=replace(scene.look, hue=hue))


_ENCODERS = {
    "video": ("image", _encode_video, (16, 12, 8, 8)),
    "tinted": ("image", _encode_tinted, (16, 12, 8, 8)),
    "audio": ("audio", _encode_audio, (16, 4, 32)),
    "detuned": ("audio", _encode_detuned, (16, 4, 32)),
}


def build_video(settings: DictConfig) -> None:
    """Stage `latents_video`."""
    build("video", settings.count, settings.until)


def build_tinted(settings: DictConfig) -> None:
    """Stage `latents_tinted`."""
    build("tinted", settings.count, settings.until)


def build_audio(settings: DictConfig) -> None:
    """Stage `latents_audio`."""
    build("audio", settings.count, settings.until)


def build_detuned(settings: DictConfig) -> None:
    """Stage `latents_detuned`."""
    build("detuned", settings.count, settings.until)


def sounds(share: float) -> Callable[[np.random.Generator, np.ndarray], tuple[torch.Tensor, torch.Tensor]]:
    """(generator, numbers of clips) -> latents [batch, 16, 4, 32] and facts; a share of them between the notes."""
    store, between = load("audio"), load("detuned")
    facts = facts_table(len(store))

    def draw(rng: np.random.Generator, clips: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        off = (rng.random(len(clips)) < share * len(store) / max(len(between), 1)) & (clips < len(between))
        clean, true = store[clips], facts[clips]
        clean[off] = between[clips[off]]
        true[torch.from_numpy(off), list(FACTORS).index("colour")] = -1
        return torch.from_numpy(clean).float(), true

    return draw


class Prompts:
    """Prompt tokens for training scenes: one caption, or several that share the facts among them, or none.

    Args:
        drop: share of samples whose prompt is the null prompt (classifier-free guidance, Ho and Salimans 2022).
        captions: of the bank.
    """

    def __init__(self, drop: float = 0.12, captions: int = CAPTIONS) -> None:
        bank = caption_bank(captions)
        path = runs_folder() / ("caption_tokens.pt" if captions == CAPTIONS else f"caption_tokens_{captions}.pt")
        self.tokens = built_once(path, lambda: bank_tokens(bank, load_pivot().encoder))
        self.table = bank.index()
        self.drop = drop

    def draw(self, facts: torch.Tensor, rng: np.random.Generator) -> tuple[Tokens, torch.Tensor]:
        """Prompts for a batch.

        Args:
            facts: [batch, factors] of the scenes.

        Returns:
            states [batch, 2 * K, width] with a bias of minus infinity where a second prompt is absent; and the facts
            that the prompts name, -1 where they name none.
        """
        states, bias, named = zip(*(self._one(row, rng) for row in facts.tolist()), strict=True)
        return Tokens(torch.stack(states), None, torch.stack(bias)), torch.tensor(named)

    def _one(self, facts: list[int], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
        count, width = self.tokens.shape[1:]
        states, bias = torch.zeros(2 * count, width), torch.zeros(2 * count)
        kind = rng.random()
        bias[count:] = -torch.inf
        if kind < self.drop:
            return states, bias, [-1] * len(facts)
        if kind < 0.7:
            states[:count], named = self._caption(facts, _subset(rng), rng)
            return states, bias, named
        first = _subset(rng)
        second = ~first if rng.random() < 0.6 else _subset(rng)
        states[:count], named = self._caption(facts, first, rng)
        states[count:], also = self._caption(facts, second, rng)
        bias[count:] = 0
        return states, bias, [max(pair) for pair in zip(named, also, strict=True)]

    def _caption(self, facts: list[int], named: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, list[int]]:
        """Tokens of a caption that names those facts, or fewer where the bank holds none that names them all."""
        while True:
            key = tuple(value if keep else -1 for value, keep in zip(facts, named, strict=True))
            if key in self.table:
                return self.tokens[int(rng.choice(self.table[key]))].float(), list(key)
            kept = np.flatnonzero(named)
            named = named.copy()
            named[rng.choice(kept)] = False


def _subset(rng: np.random.Generator) -> np.ndarray:
    """A random set of factors: often all, else any number alike."""
    if rng.random() < 0.25:
        return np.ones(5, dtype=bool)
    named = np.zeros(5, dtype=bool)
    named[rng.permutation(5)[: rng.integers(0, 6)]] = True
    return named
