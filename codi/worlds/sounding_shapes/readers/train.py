"""Trains the readers on fresh renders: `python -m codi.worlds.sounding_shapes.readers.train --out FILE`.

One thread, about a quarter of an hour. The readers see every (shape, colour) pair, the held-out ones too:
they are the measuring instrument, and nothing that generates learns from them.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from codi.worlds.sounding_shapes.factors import FACTORS, FPS, FRAMES, RATE, SAMPLES, SIDE
from codi.worlds.sounding_shapes.readers.augment import damage_mels, damage_pictures
from codi.worlds.sounding_shapes.readers.networks import (
    FRAME_FACTORS,
    HOP,
    ClipNet,
    FrameNet,
    SoundNet,
    frame_inputs,
    log_mel,
)
from codi.worlds.sounding_shapes.readers.weights import WEIGHTS
from codi.worlds.sounding_shapes.render import render_image, render_video, track_of
from codi.worlds.sounding_shapes.scene import Scene, sample_scene
from codi.worlds.sounding_shapes.sound import render_audio

log = logging.getLogger(__name__)
PARTS = ("frame", "clip", "sound")

Loss = Callable[[int], Tensor]


def train(seed: int = 0, scale: float = 1.0, parts: Collection[str] = PARTS) -> dict[str, Tensor]:
    """Trains the networks.

    Args:
        seed: of scenes, damage and initial weights.
        scale: multiplies the number of steps; a small one is for tests.
        parts: which of PARTS to train; "clip" is trained on what "frame" reads, so together with it.

    Returns:
        The weights in half precision, keyed "frame.*", "clip.*", "sound.*".
    """
    torch.manual_seed(seed)
    frame, clip, sound = FrameNet().to(memory_format=torch.channels_last), ClipNet(), SoundNet()  # type: ignore[call-overload]
    if "frame" in parts:
        _fit("frame", frame, _frame_loss(frame, seed), int(1700 * scale), rate=3e-3)
    if "clip" in parts:
        clips = _cached_clips(frame.eval(), seed + 1, int(2400 * scale) + 64)
        _fit("clip", clip, _clip_loss(clip, clips, seed), int(1500 * scale), rate=2e-3)
    if "sound" in parts:
        _fit("sound", sound, _sound_loss(sound, seed + 2), int(1000 * scale), rate=3e-3)
    nets = {"frame": frame, "clip": clip, "sound": sound}
    state = {f"{name}.{key}": value for name in parts for key, value in nets[name].state_dict().items()}
    return {k: v.half().contiguous() for k, v in state.items() if v.is_floating_point()}


def _fit(name: str, net: nn.Module, loss: Loss, steps: int, rate: float) -> None:
    """AdamW under a one-cycle learning rate."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=max(steps, 2), pct_start=0.15)
    start, mean = time.process_time(), 0.0
    for step in range(steps):
        optimiser.zero_grad()
        value = loss(step)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        cycle.step()
        mean += (value.item() - mean) * max(0.02, 1 / (step + 1))
        if step % 100 == 99 or step == steps - 1:
            spent = time.process_time() - start
            log.info("%s %d/%d loss %.4f cpu %.0f s", name, step + 1, steps, mean, spent)


def _targets(scenes: list[Scene], factors: tuple[str, ...]) -> dict[str, Tensor]:
    """Index of each scene's value; -100, which cross-entropy ignores, where the factor does not apply."""
    indices = {n: [FACTORS[n].index(s.factors[n]) if n in s.factors else -100 for s in scenes] for n in factors}
    return {name: torch.tensor(values) for name, values in indices.items()}


def _factor_loss(logits: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    return torch.stack([F.cross_entropy(logits[n], t, label_smoothing=0.02) for n, t in targets.items()]).sum()


def _picture(pixels: np.ndarray) -> Tensor:
    """uint8 [..., 64, 64, 3] -> [..., 3, 64, 64] in -1..1."""
    return torch.from_numpy(pixels).movedim(-1, -3).float() / 127.5 - 1


def _frame_loss(net: FrameNet, seed: int) -> Loss:
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def loss(step: int) -> Tensor:
        del step
        scenes = [sample_scene(rng, "all") for _ in range(64)]
        frames = [_frame(s, rng) for s in scenes]
        pixels = _picture(np.stack([render_image(s, f) for s, f in zip(scenes, frames, strict=True)]))
        _, logits, found = net(damage_pictures(pixels, generator))
        where = torch.from_numpy(np.stack([_where(s, f) for s, f in zip(scenes, frames, strict=True)]))
        mark = F.binary_cross_entropy_with_logits(found[:, 3], where[:, 3])
        return _factor_loss(logits, _targets(scenes, FRAME_FACTORS)) + mark + 30 * F.l1_loss(found[:, :3], where[:, :3])

    return loss


def _frame(scene: Scene, rng: np.random.Generator) -> int:
    """A frame of the scene, every third one at an event."""
    if rng.random() < 0.33:
        return scene.event_frames[int(rng.integers(len(scene.event_frames)))]
    return int(rng.integers(FRAMES))


def _where(scene: Scene, frame: int) -> np.ndarray:
    """float32 [4]: x, y, radius in units of the picture's side, and whether the frame has a mark."""
    track = track_of(scene)
    marked = scene.motion != "still" and frame in scene.event_frames
    place = (track.x[frame] / SIDE, track.y[frame] / SIDE, track.radius[frame] / SIDE, float(marked))
    return np.asarray(place, dtype=np.float32)


def _cached_clips(frame: FrameNet, seed: int, count: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Inputs of ClipNet [count, 82, 16], its targets, and its events [count, 16], for damaged renders."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    scenes = [sample_scene(rng, "all") for _ in range(count)]
    inputs = []
    with torch.no_grad():
        for scene in scenes:
            video = _picture(render_video(scene, marks=rng.random() < 0.75))
            video = damage_pictures(video, generator) if rng.random() < 0.8 else video
            inputs.append(frame_inputs(frame, video[None]))
    moving = [s.event_frames if s.motion != "still" else () for s in scenes]
    events = torch.tensor([[float(f in e) for f in range(FRAMES)] for e in moving])
    return torch.cat(inputs), _targets(scenes, tuple(FACTORS)), events


def _clip_loss(net: ClipNet, clips: tuple[Tensor, dict[str, Tensor], Tensor], seed: int) -> Loss:
    generator = torch.Generator().manual_seed(seed)
    inputs, targets, events = clips

    def loss(step: int) -> Tensor:
        del step
        rows = torch.randint(len(inputs), (128,), generator=generator)
        x = inputs[rows]
        _, logits, found = net(x + 0.02 * torch.randn(x.shape, generator=generator))
        heat = F.binary_cross_entropy_with_logits(found, events[rows])
        return _factor_loss(logits, {name: t[rows] for name, t in targets.items()}) + 4 * heat

    return loss


def _sound_loss(net: SoundNet, seed: int) -> Loss:
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def loss(step: int) -> Tensor:
        del step
        scenes = [sample_scene(rng, "all") for _ in range(32)]
        shifts = rng.integers(-2400, 2401, 32)
        waves = [_shifted(render_audio(s), int(n)) for s, n in zip(scenes, shifts, strict=True)]
        mels = log_mel(torch.from_numpy(np.stack(waves)))
        heat = torch.from_numpy(np.stack([_heat(s, int(n)) for s, n in zip(scenes, shifts, strict=True)]))
        _, logits, found = net(damage_mels(mels, generator))
        miss = F.binary_cross_entropy_with_logits(found, heat, reduction="none").sum(1).mean()
        return _factor_loss(logits, _targets(scenes, tuple(FACTORS))) + 0.2 * miss

    return loss


def _shifted(wave: np.ndarray, shift: int) -> np.ndarray:
    """The sound `shift` samples later: event times are not to be learnt as multiples of a frame."""
    moved = np.zeros_like(wave)
    if shift >= 0:
        moved[shift:] = wave[: SAMPLES - shift]
    else:
        moved[:shift] = wave[-shift:]
    return moved


def _heat(scene: Scene, shift: int) -> np.ndarray:
    """float32 [201]: 1 at the step of each event, less one step beside it."""
    steps = np.arange(SAMPLES // HOP + 1)
    heat = np.zeros(len(steps), dtype=np.float32)
    for frame in scene.event_frames if scene.motion != "still" else ():
        at = (frame / FPS * RATE + shift) / HOP
        if at > -0.5:
            heat = np.maximum(heat, np.exp(-0.5 * ((steps - at) / 0.9) ** 2))
    return heat.astype(np.float32)


def main() -> None:
    """Trains and writes the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the others keep their weights")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    kept = load_file(args.out) if args.out.exists() else {}
    save_file(kept | train(args.seed, args.scale, args.parts), args.out)
    log.info("wrote %s, %d bytes", args.out, args.out.stat().st_size)


if __name__ == "__main__":
    main()
