"""The release's DDIM grid in diffusers' DDIMScheduler."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler

from codi.components import component

TRAINED_STEPS = 1000


@component
class CoDiScheduler(DDIMScheduler):
    """DDIM (Song et al. 2020) on the timesteps `range(0, 1000, 1000 // steps) + 1`.

    That range holds more than `steps` timesteps where they do not divide 1000 (31 for 30), and diffusers' "leading"
    spacing would cut it: the release takes them all, and so does this. Where it would reach timestep 1000, which does
    not exist and breaks the release (for 3 or 9 steps), that one is left out.
    """

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Set the timesteps, from noise to clean."""
        stride = TRAINED_STEPS // num_inference_steps
        grid = torch.arange(0, TRAINED_STEPS, stride) + 1
        self.timesteps = grid[grid < TRAINED_STEPS].flip(0).to(device)
        # `step` goes back by 1000 // num_inference_steps: the stride, as long as this stays what was asked for.
        self.num_inference_steps = num_inference_steps


def scheduler() -> CoDiScheduler:
    """Stable Diffusion's noise schedule; the first step ends at the first training level, not at zero noise."""
    return CoDiScheduler(
        num_train_timesteps=TRAINED_STEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
