"""The joint denoising loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from codi import schedule
from codi.bridge import gather
from codi.conditioning import beside, stacked
from codi.guidance import Guidance
from codi.held import Held
from codi.modality import Engine
from codi.types import Denoised, Tokens

OnStep = Callable[[int, Mapping[str, torch.Tensor]], None]

TOGETHER = 16
"""Rows of a batch of several passes; beyond, one after the other is nearly as fast and takes less memory."""


@dataclass
class Track:
    """One modality on the timeline. A given and an output differ only in whether a scheduler moves them.

    Attributes:
        engine: runs the modality.
        latent: [batch, ...]; of a given, clean and constant.
        clock: times of the latent's columns or frames.
        prompt: what a prompted pass attends to before anything is heard; a given has the null prompt.
        null: what an unprompted pass attends to: nothing, or the negative prompt.
        scheduler: None for a given.
        noise: of the output; None for a given.
        held: what stands of an output; None where all of it is made.
        says: of an estimate of the clean latent, the tokens that it prompts others with; None where it never does.
        spoke: its noise level when it last said something.
        heard: what prompts it behind the prompt, by the output that said it.
        told: the prompt with that behind it; None before anything is heard.
        kept: the bridge-off passes of a step, with the step's index: by whether they were prompted.
        drift: what the prompt changed when that was last looked at: the prompted pass less the unprompted, bridges off.
        stacked: prompts that were taken in one batch, and as that.
    """

    engine: Engine
    latent: torch.Tensor
    clock: torch.Tensor
    prompt: Tokens
    null: Tokens
    scheduler: Any = None
    noise: schedule.Noise | None = None
    held: Held | None = None
    says: Callable[[torch.Tensor], Tokens] | None = None
    spoke: float = math.inf
    heard: Mapping[str, Tokens] = field(default_factory=dict)
    told: Tokens | None = None
    kept: tuple[int, dict[bool, Denoised]] = field(default_factory=lambda: (-1, {}))
    drift: torch.Tensor | None = None
    stacked: tuple[tuple[Tokens, ...], Tokens] | None = None

    def waits(self, index: int) -> bool:
        """Whether all of it stands after step `index` too, so that there is nothing to predict."""
        until = None if self.held is None else self.held.until
        return until is not None and index < until and schedule.begins_anywhere(self.scheduler)

    def level(self, index: int) -> torch.Tensor:
        """[batch] noise levels at step `index`: 0 for a given."""
        level = 0.0 if self.scheduler is None else schedule.level_at(self.scheduler, index)
        # In float32 whatever the latent is: half precision cannot tell neighbouring timesteps apart.
        return torch.full((len(self.latent),), level, device=self.latent.device)

    def run(self, index: int, prompts: Sequence[Tokens], partners: Tokens | None = None) -> list[Denoised]:
        """Passes of the denoiser at step `index`, one a prompt; of few samples in one batch, which is faster."""
        count, level = len(prompts), self.level(index)
        if count == 1 or count * len(level) > TOGETHER:
            return [self.engine.denoiser(self.latent, level, prompt, self.clock, partners) for prompt in prompts]
        latent = torch.cat([self.latent] * count)
        read = None if partners is None else partners.repeated(count)
        return self.engine.denoiser(latent, level.repeat(count), self.stack(prompts), self.clock, read).chunk(count)

    def stack(self, prompts: Sequence[Tokens]) -> Tokens:
        """Prompts as one batch; as long as they are the same, the same: a backbone may keep what it made of it."""
        if self.stacked is None or any(one is not other for one, other in zip(self.stacked[0], prompts, strict=True)):
            self.stacked = (tuple(prompts), stacked(prompts))
        return self.stacked[1]

    def asked(self, prompted: bool) -> Tokens:
        """What a pass attends to, with the prompt or without."""
        return self.prompted if prompted else self.null

    @property
    def prompted(self) -> Tokens:
        """What a prompted pass attends to."""
        return self.prompt if self.told is None else self.told

    def hear(self, said: Mapping[str, Tokens]) -> None:
        """Be prompted from now on by the last that each of the others said."""
        if said:
            self.heard = {**self.heard, **said}
            self.told, self.drift = beside(self.prompt, tuple(self.heard.values())), None

    def say(self, prediction: torch.Tensor, index: int, below: float) -> Tokens | None:
        """What the latent before step `index` is about to become prompts others with; None where it says nothing.

        It speaks below a noise level, again each time that its own has halved since, for it costs a decoding, and no
        more when it is a sixteenth of that: what is said then is what was said before.
        """
        level = schedule.level_at(self.scheduler, index)
        if self.says is None or not below / 16 <= level < min(below, self.spoke / 2):
            return None
        self.spoke = level
        clean = schedule.estimate(self.scheduler, prediction, index, self.latent)
        return self.says(clean if self.held is None else self.held.over(clean, index))

    def bare(self, index: int, *prompted: bool) -> list[Denoised]:
        """Passes at step `index` with the bridge off, with the prompt or without, each taken once."""
        if self.kept[0] != index:
            self.kept = (index, {})
        passes = self.kept[1]
        missing = [asked for asked in prompted if asked not in passes]
        if missing:
            passes.update(zip(missing, self.run(index, [self.asked(asked) for asked in missing]), strict=True))
        return [passes[asked] for asked in prompted]

    def due(self, index: int, guidance: Guidance, partners: bool) -> bool:
        """Whether step `index` takes the pass without the prompt, bridge off."""
        wanted = any(not (term.prompted or term.bridged) for term in guidance.terms(partners))
        return wanted and not self.waits(index) and (self.drift is None or index % guidance.interval == 0)

    def alone(self, index: int, guidance: Guidance | None = None, partners: bool = True) -> Denoised:
        """The prompted pass at step `index` with the bridge off; with it the unprompted, if guidance takes that too."""
        both = guidance is not None and self.due(index, guidance, partners)
        return self.bare(index, *((True, False) if both else (True,)))[0]

    def unprompted(self, index: int, guidance: Guidance) -> torch.Tensor:
        """The prediction without the prompt at step `index`; within an interval, what it is if the drift stays."""
        if self.drift is not None and index % guidance.interval:
            return self.alone(index).sample - self.drift
        if guidance.interval == 1:
            return self.bare(index, False)[0].sample
        prompted, nothing = (made.sample for made in self.bare(index, True, False))
        self.drift = prompted - nothing
        return nothing

    def fitted(self, prediction: torch.Tensor, index: int) -> torch.Tensor:
        """A prediction for step `index`, drawn to what stands of the output, if anything does."""
        if self.held is None or not self.held.draws(self.scheduler, index):
            return prediction

        def predict(latent: torch.Tensor) -> torch.Tensor:
            return self.engine.denoiser(latent, self.level(index), self.prompted, self.clock).sample

        return self.held.drawn(predict, prediction, self.latent, schedule.level_at(self.scheduler, index))

    def renewal(self, partners: Tokens | None, guidance: Guidance) -> float:
        """The noise level above which it gets new noise: where there is somebody to read, or something to fit."""
        if self.held is not None:
            return self.held.renewal
        return 1.0 if partners is None else guidance.renewal

    def show(self, index: int, guidance: Guidance | None = None) -> Tokens | None:
        """Environment tokens for the others; None where the bundle has no environment encoder for this modality.

        `guidance` is that of an output: it says what is taken in one batch with the pass that is read.
        """
        environment = self.engine.environment
        if environment is None:
            return None
        seen = self.latent if environment.reads_latent else self.alone(index, guidance).features
        if seen is None:
            return None
        return Tokens(environment(seen, self.level(index)), self.engine.token_times(self.clock))


def tellers(guidance: Mapping[str, Guidance]) -> list[str]:
    """The outputs that are to prompt somebody else who reads them."""
    joined = {name: scale for name, scale in guidance.items() if scale.joins}
    heard = {n for n in guidance if any(scale.reads(other, n) for other, scale in joined.items() if other != n)}
    return [name for name, scale in guidance.items() if name in heard and scale.prompting > 0]


@torch.no_grad()
def denoise(
    tracks: Mapping[str, Track], guidance: Mapping[str, Guidance], steps: int, on_step: OnStep | None = None
) -> dict[str, torch.Tensor]:
    """Denoise all outputs together.

    Args:
        tracks: outputs and givens by modality.
        guidance: of each output.
        steps: of the common grid, as many as each scheduler has timesteps.
        on_step: called after each step with its index and the outputs' latents.

    Returns:
        The clean latents of the outputs.
    """
    outputs = {name: track for name, track in tracks.items() if track.scheduler is not None}
    shown: dict[str, Tokens | None] = {}
    joined = [name for name in outputs if guidance[name].joins]
    for index in range(steps):
        share = index / steps
        scales = {name: guidance[name].at(share) for name in outputs}
        acting = {name for name in outputs if len(tracks) > 1 and guidance[name].acts(share)}
        read = [n for n in tracks if any(guidance[name].reads(name, n) for name in acting)]
        begun = {name for name in outputs if guidance[name].start <= share}
        # One snapshot before anybody moves: the order of the outputs cannot matter. A given never changes.
        for name in read:
            if name in begun or name not in {*outputs, *shown}:
                shown[name] = tracks[name].show(index, scales.get(name))
        said: dict[str, Tokens | None] = {}
        for name, track in outputs.items():
            latent = track.latent
            if not track.waits(index):
                partners = gather(guidance[name].seen(name, shown)) if name in acting else None
                prediction = track.fitted(guided(track, index, partners, scales[name]), index)
                said[name] = track.say(prediction, index, guidance[name].prompting)
                assert track.noise is not None
                renews = schedule.renews(track.scheduler, index, track.renewal(partners, guidance[name]))
                move = schedule.renewed if renews else schedule.step
                latent = move(track.scheduler, prediction, index, latent, track.noise)
            track.latent = latent if track.held is None else track.held.laid(latent, track.scheduler, index + 1)
        for name in joined:
            outputs[name].hear(guidance[name].seen(name, {n: tokens for n, tokens in said.items() if n != name}))
        if on_step is not None:
            on_step(index, {name: track.latent for name, track in outputs.items()})
    return {name: track.latent for name, track in outputs.items()}


def guided(track: Track, index: int, partners: Tokens | None, guidance: Guidance) -> torch.Tensor:
    """The weighted sum of the guidance's terms; the bridge-off prompted pass is the one that gave the features."""
    # The prompted first: the unprompted is then taken with it.
    terms = sorted(guidance.terms(partners is not None), key=lambda term: not term.prompted)
    bridged = [term.prompted for term in terms if term.bridged]
    read = track.run(index, [track.asked(prompted) for prompted in bridged], partners) if bridged else []
    beside_partners = dict(zip(bridged, read, strict=True))
    total = torch.zeros_like(track.latent)
    for term in terms:
        if term.bridged:
            sample = beside_partners[term.prompted].sample
        elif term.prompted:
            sample = track.alone(index, guidance, partners is not None).sample
        else:
            sample = track.unprompted(index, guidance)
        total = total + term.weight * sample
    return total
