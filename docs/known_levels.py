"""Makes known.png of bridges.md: `python docs/known_levels.py [--samples 96] [--out docs]`.

How much of a scene's colour and tempo a denoiser alone, without a prompt, makes out at each noise level: latents of
training scenes are noised, one pass estimates what is clean, a critic reads the estimate. It needs what
`python -m codi.training restore` and the stages `latents_audio` and `latents_video` make.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot

from codi.backbones.codi_mini import SHIFTS
from codi.modality import registry
from codi.training.bridges import Clips, frozen_bases
from codi.training.critic import CRITICS, ClipAndFrames, Critic, load_critic
from codi.training.joint import joint_pass
from codi.training.levels import shifted
from codi.types import Tokens
from codi.worlds.sounding_shapes.factors import FACTORS, SHOWN

LEVELS = (0.99, 0.98, 0.97, 0.96, 0.94, 0.92, 0.9, 0.87, 0.84, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.02)


def main() -> None:
    """Prints the shares read right and draws them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    clips = Clips()
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
    for number, (name, critic) in enumerate(_critics().items()):
        shares = _shares(name, critic, clips, args.samples)
        for axis, factor in zip(axes, ("colour", "tempo"), strict=True):
            if factor in SHOWN[name]:
                print(name, factor, dict(zip(LEVELS, np.round(shares[factor], 2).tolist(), strict=True)))
                axis.plot(LEVELS, shares[factor], color=f"C{number}", label=name)
                steps = shifted(1 - torch.arange(1, 12) / 12, SHIFTS[name])
                axis.plot(steps, np.interp(steps, LEVELS[::-1], shares[factor][::-1]), ".", color=f"C{number}")
    for axis, factor in zip(axes, ("colour", "tempo"), strict=True):
        chance = 1 / len(FACTORS[factor])
        axis.axhline(chance, color="grey", linewidth=0.5)
        axis.set(title=factor, xlabel="noise level; dots: steps of 12", xlim=(1, 0), ylim=(0, 1.02))
    axes[0].set_ylabel("read right")
    axes[0].legend()
    figure.savefig(args.out / "known.png", dpi=90)


@torch.no_grad()
def _shares(name: str, critic: Critic, clips: Clips, count: int) -> dict[str, list[float]]:
    """Share read right by factor, one for each level."""
    bases = {key: base for key, base in frozen_bases().items() if key.startswith(f"{name}_")}
    engine = registry()[name].engine()(bases)
    torch.manual_seed(3)
    clean, rows = clips.draw({name: engine}, np.random.default_rng(3), count)
    facts, nothing = clips.facts[rows], Tokens(torch.zeros(count, 8, 256))
    shares: dict[str, list[float]] = {factor: [] for factor in ("colour", "tempo")}
    for level in LEVELS:
        made = joint_pass({name: engine}, clean, nothing, {name: torch.full((count,), level)}, bridged=False).seen
        read = critic.facts(critic(made.estimates[name]))
        for factor in set(shares) & set(SHOWN[name]):
            true = facts[:, list(FACTORS).index(factor)]
            right = read[factor].argmax(1) == true
            shares[factor].append(float(right[true >= 0].float().mean()))
    return shares


def _critics() -> dict[str, Critic]:
    critics = {name: load_critic(name) for name in CRITICS}
    return critics | {"video": ClipAndFrames(critics["video"], critics["image"], count=6)}


if __name__ == "__main__":
    main()
