"""From a checked call to tracks at the start of the joint loop, and from their last latents to media."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from codi import schedule
from codi.held import Held, together
from codi.modality import Engine
from codi.request import Call
from codi.sampling import Track, tellers
from codi.types import InputError, Part, Tokens


@dataclass(frozen=True)
class Conditioning:
    """What passes attend to, [samples, tokens, width] each.

    Attributes:
        prompt: of passes with the prompt.
        negative: of passes without it: nothing, or the negative prompt.
        nothing: of givens.
    """

    prompt: Tokens
    negative: Tokens
    nothing: Tokens


@dataclass(frozen=True)
class Stage:
    """One call on the components of a bundle.

    Attributes:
        call: what is asked for.
        engines: by modality, of outputs, companions and givens.
        schedulers: of outputs and companions, by modality.
        conditioning: of the call's prompts.
    """

    call: Call
    engines: Mapping[str, Engine]
    schedulers: Mapping[str, Any]
    conditioning: Conditioning

    @cached_property
    def tellers(self) -> list[str]:
        """Outputs that are to prompt others, and can: others may read them, and their samplers say what is clean."""
        told = tellers(self.call.guidance)
        shown = [name for name in told if self.engines[name].environment is not None]
        return [name for name in shown if schedule.flows(self._scheduler(name))]

    @cached_property
    def _words(self) -> dict[tuple[str, str], torch.Tensor]:
        return {}

    def tracks(self) -> dict[str, Track]:
        """Outputs, companions and givens at the start of the loop."""
        # In one order, however they were named: sums over partners are then the same to the last bit.
        makes, stands = sorted(self.schedulers), sorted(self.call.given[0])
        outputs = {name: self._output(name) for name in makes}
        return outputs | {name: self._given(name) for name in stands if name not in outputs}

    def media(self, name: str, latent: torch.Tensor) -> list[Any]:
        """What was made, with what stands of it put back."""
        engine, clip = self.engines[name], self.call.clip
        made = engine.decode(latent, clip)
        for parts in self._standing(name):
            made = [engine.mend(medium, part, clip) for medium, part in zip(made, parts, strict=True)]
        return made

    def _output(self, name: str) -> Track:
        call, engine, like = self.call, self.engines[name], self.conditioning.nothing.states
        noise = schedule.Noise(call.seed, name)
        scheduler = schedule.prepared(self._scheduler(name), call.steps, like.device)
        white = noise.white(engine.latent_shape(call.clip), call.samples).to(like)
        latent = white * getattr(scheduler, "init_noise_sigma", 1.0)
        held = self._held(name, white, scheduler)
        if held is not None:
            latent = held.laid(latent, scheduler, 0)
        return Track(
            engine=engine,
            latent=latent,
            clock=engine.clock(call.clip).to(like.device),
            prompt=self.conditioning.prompt,
            null=self.conditioning.negative,
            scheduler=scheduler,
            noise=noise,
            held=held,
            says=(lambda clean: self._said(name, clean)) if name in self.tellers else None,
        )

    def _scheduler(self, name: str) -> Any:
        return schedule.chosen(self.schedulers[name], self.call.scheduler)

    def _said(self, name: str, clean: torch.Tensor) -> Tokens:
        """Prompt tokens of the medium that a clean latent is; words that were said before are not read again."""
        engine = self.engines[name]
        said = engine.decode(clean, self.call.clip)
        if not all(isinstance(medium, str) for medium in said):
            return Tokens(engine.prompt(said).to(clean))
        fresh = [words for words in dict.fromkeys(said) if (name, words) not in self._words]
        if fresh:
            self._words.update({(name, words): read for words, read in zip(fresh, engine.prompt(fresh), strict=True)})
        return Tokens(torch.stack([self._words[name, words] for words in said]).to(clean))

    def _given(self, name: str) -> Track:
        engine, stands = self.engines[name], [sample[name] for sample in self.call.given]
        latent, nothing = self._encoded(name, [stand.media for stand in stands]), self.conditioning.nothing
        clock = engine.clock(self.call.clip, stands[0].seconds).to(latent.device)
        return Track(engine, latent, clock, nothing, nothing)

    def _held(self, name: str, white: torch.Tensor, scheduler: Any) -> Held | None:
        """What stands of an output, if anything does."""
        standing, begun = self._standing(name), [part for part in self._own(name) if part.strength is not None]
        if begun:
            clean = self._encoded(name, [part.media for part in begun])
            until = schedule.begins(scheduler, begun[0].strength or 0.0)
            return Held(clean, white, torch.ones_like(clean), until) if until else None
        layers = [self._layer(name, parts, white) for parts in standing]
        return together(layers) if layers else None

    def _layer(self, name: str, parts: Sequence[Part], white: torch.Tensor) -> Held:
        clean = self._encoded(name, [part.media for part in parts])
        mask = torch.stack([self.engines[name].held(part, self.call.clip) for part in parts])
        # What the mask's axes do not name comes after the batch: channels, or rows of a spectrogram.
        mask = mask.view(len(mask), *[1] * (clean.ndim - mask.ndim), *mask.shape[1:])
        return Held(clean, white, mask.to(clean))

    def _standing(self, name: str) -> list[list[Part]]:
        """What stands of an output for ever, one part a sample each, later ones over earlier ones.

        Its own comes last, at whose rate and size the medium comes back.

        Raises:
            InputError: something stands of what begins from a medium.
        """
        pins = [self._pins(name, other) for other in sorted(self.call.given[0]) if other != name]
        own = self._own(name)
        if own and own[0].strength is not None:
            if any(pins):
                raise InputError(f"given {name}", "has a strength, and a frame that stands", "give one of the two")
            return []
        return [parts for parts in (*pins, own) if parts]

    def _own(self, name: str) -> list[Part]:
        samples = [sample[name].part for sample in self.call.given if name in sample]
        return [part for part in samples if part is not None]

    def _pins(self, name: str, other: str) -> list[Part]:
        """What another modality's givens at an instant are of an output."""
        media, seconds = [sample[other].media for sample in self.call.given], self.call.given[0][other].seconds
        if seconds is None:
            return []
        engine, shown = self.engines[name], {id(medium): medium for medium in media}
        parts = {key: engine.pinned(other, medium, seconds, self.call.clip) for key, medium in shown.items()}
        return [part for medium in media if (part := parts[id(medium)]) is not None]

    def _encoded(self, name: str, media: Sequence[Any]) -> torch.Tensor:
        """Latents of givens; one that stands in several samples is read once."""
        read = {id(medium): medium for medium in media}
        latents = {key: self.engines[name].encode(medium, self.call.clip) for key, medium in read.items()}
        return torch.cat([latents[id(medium)] for medium in media])
