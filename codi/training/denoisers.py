"""Stages `denoiser_<modality>`: rectified flow in each modality's latents, prompted by captions.

z = (1 - s) x0 + s e and the network predicts e - x0 (Liu et al. 2022, "Flow straight and fast", equation 1). Levels s
are drawn with a shift (Esser et al. 2024, section 5.3.2), because nearly all structure is decided near the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from omegaconf import DictConfig
from safetensors.torch import load_file
from torch import nn

from codi.modalities.audio.denoiser import AudioDenoiser, audio_unet
from codi.modalities.audio.engine import AudioEngine
from codi.modalities.image.denoiser import ImageDenoiser, image_unet
from codi.modalities.text.denoiser import LATENT_TOKENS, TextDenoiser, TextTransformer
from codi.modalities.video.denoiser import VideoDenoiser
from codi.modalities.video.engine import VideoEngine
from codi.modality import Denoiser
from codi.networks.clip_transformer import ClipTransformer
from codi.training import latents
from codi.training.critic import ClipAndFrames, Critic, load_critic
from codi.training.facts import CAPTIONS
from codi.training.levels import draw_levels, known, noised
from codi.training.loop import FitConfig, Losses, fit, has_bf16
from codi.training.telling import Told
from codi.training.text_autoencoder import full_caption_latents
from codi.types import ClipSpec, Tokens
from codi.worlds.sounding_shapes.factors import FACTORS


@dataclass(frozen=True)
class Sample:
    """A batch of training data.

    Attributes:
        clean: latents [batch, ...].
        facts: [batch, factors] of the scenes.
        object: 1 where a latent cell holds the object, 0 elsewhere, broadcastable to the latents; None if all do.
        events: [batch, frames] 1 in the frames of events; None where nobody asks.
        strange: [batch] True where it is of no scene that a prompt could mean; None where all are of scenes.
        stray: [some, ...] for the first of them, what samplers make of such and no scene is: to be led back to it.
    """

    clean: torch.Tensor
    facts: torch.Tensor
    object: torch.Tensor | None = None
    events: torch.Tensor | None = None
    strange: torch.Tensor | None = None
    stray: torch.Tensor | None = None


ASTRAY: Final = (0.1, 0.7)
"""Levels at which a denoiser is shown what went astray: it can see it there, and there is a way left."""

UNTIMED: Final = torch.tensor([torch.nan], dtype=torch.float64)
"""The clock of what has no time."""

Draw = Callable[[np.random.Generator, int], Sample]


def focus(sample: Sample, sure: torch.Tensor, gain: float) -> torch.Tensor | float:
    """Loss weights that favour the object, whose outline fills a few cells of many."""
    if sample.object is None:
        return 1.0
    return 1 + gain * sure.view(-1, *([1] * (sample.clean.ndim - 1))) * sample.object


def astray(sample: Sample, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is noised, at which level, and how much its error counts, [batch]: strays in the place of the first.

    A denoiser learns on noised data; its sampler also comes by what no noised data lead to, and there it goes straight
    on (exposure bias; cf. Ning et al. 2023, "Input perturbation reduces exposure bias in diffusion models"). Where
    little of the way is left, the velocity that still turns is large, and counts for less.
    """
    assert sample.stray is not None
    count, (low, high) = len(sample.stray), ASTRAY
    own = low + (high - low) * torch.rand(count)
    weight = torch.cat([(own / 0.35).clamp(max=1).square(), torch.ones(len(level) - count)])
    return torch.cat([sample.stray, sample.clean[count:]]), torch.cat([own, level[count:]]), weight


def marked(prompt: Tokens, strange: torch.Tensor | None) -> Tokens:
    """Prompts with one token more beside what is strange: it teaches, and nobody asks for it afterwards.

    Without the mark a prompt that leaves the pitch open would be answered by sounds between the notes too.
    """
    if strange is None:
        return prompt
    batch, count, width = prompt.states.shape
    token = torch.ones(batch, 1, width)
    bias = torch.zeros(batch, count) if prompt.bias is None else prompt.bias
    present = torch.where(strange, 0.0, -torch.inf)[:, None]
    return Tokens(torch.cat([prompt.states, token], 1), prompt.times, torch.cat([bias, present], 1))


def judged(
    critic: Critic, estimate: torch.Tensor, sample: Sample, named: torch.Tensor, sure: torch.Tensor, asked: torch.Tensor
) -> torch.Tensor:
    """[batch] what the critic finds wrong with estimates of the clean latents.

    Args:
        named: [batch, factors] what the prompts name, -1 where they name nothing.
        sure: [batch] whether the latent shows what there is to see.
        asked: [batch] whether the estimate must show what its prompt names, although the latent hardly does.
    """
    events = sample.facts if sample.events is None else sample.events
    read = critic(estimate)
    return sure * critic.missed(read, sample.facts, events) + (asked - sure) * critic.missed(read, named, None)


@dataclass(frozen=True)
class Settings:
    """How a denoiser's errors are drawn and weighed.

    Attributes:
        shift, even, lowest: of the levels, as draw_levels has them.
        known: the level above which neither the critic nor the object's weight counts.
        named: the same for what the prompt names; None as `known`.
        gain: weight of the object, beside that of everything else.
        critic: weight of what the critic finds wrong.
        told: weight of what the features do not tell.
    """

    shift: float
    even: float = 0.25
    lowest: float = 0.0
    known: float = 0.95
    named: float | None = None
    gain: float = 3.0
    critic: float = 0.0
    told: float = 0.0

    @classmethod
    def of(cls, config: DictConfig) -> Settings:
        """Those that a stage's configuration names."""
        return cls(**{field.name: config[field.name] for field in fields(cls) if field.name in config})


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        denoiser: what learns.
        draw: (generator, batch) -> training data.
        prompts: of the data.
        clock: of the latents.
        settings: weights.
        critic: judges the estimates of the clean latents.
        told: asks the features where the object is; learns with the denoiser.
    """

    denoiser: Denoiser
    draw: Draw
    prompts: latents.Prompts
    clock: torch.Tensor
    settings: Settings
    critic: Critic | None = None
    told: Told | None = None

    def loss(self, rng: np.random.Generator, batch: int) -> Losses:
        """Of one batch: "loss" and its parts; "high" is the squared error near the noise, where structure is set."""
        settings = self.settings
        drawn = draw_levels(batch, settings.shift, settings.even, settings.lowest)
        error, wrong, silent, level = self._errors(rng, drawn, settings.gain, strays=True)
        high = (level > 0.8).float()
        near_noise = (error * high).sum() / high.sum().clamp_min(1)
        total = error.mean() + settings.critic * wrong + settings.told * silent
        return {"loss": total, "high": near_noise, "wrong": wrong, "silent": silent}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Squared errors of the clean latents' estimates, at some levels, of the same batches each time."""
        rng = np.random.default_rng(1)
        torch.manual_seed(1)
        at = (0.1, 0.5, 0.8, 0.9, 0.95)
        levels = {level: torch.full((32,), level) for level in at}
        return {f"x0 {level}": level**2 * float(self._errors(rng, full)[0].mean()) for level, full in levels.items()}

    def _errors(
        self, rng: np.random.Generator, level: torch.Tensor, gain: float = 0.0, strays: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """[batch] weighed squared errors at `level`; what the critic finds wrong; what features do not tell; levels."""
        sample, nothing = self.draw(rng, len(level)), torch.zeros(())
        prompt, named = self.prompts.draw(sample.facts, rng)
        begin, weight = sample.clean, torch.ones(())
        if strays and sample.stray is not None:
            begin, level, weight = astray(sample, level)
        noisy, target = noised(sample.clean, level, begin)
        made = self.denoiser(noisy, level, marked(prompt, sample.strange), self.clock)
        predicted = made.sample
        silent = nothing if self.told is None else self.told(made.features, sample.object, sample.events)
        sure = known(level, self.settings.known)
        error = weight * ((predicted - target).square() * focus(sample, sure, gain)).flatten(1).mean(1)
        if self.critic is None:
            return error, nothing, silent, level
        estimate = noisy - level.view(-1, *([1] * (noisy.ndim - 1))) * predicted
        named_until = self.settings.known if self.settings.named is None else self.settings.named
        asked = torch.maximum(sure, known(level, named_until))
        return error, judged(self.critic, estimate, sample, named, sure, asked).mean(), silent, level


def train(
    name: str,
    model: nn.Module,
    denoiser: Denoiser,
    draw: Draw,
    config: DictConfig,
    clock: torch.Tensor,
    critic: Critic | None = None,
    told: Told | None = None,
) -> None:
    """Run the stage.

    Args:
        name: the modality.
        model: what is trained and saved.
        denoiser: runs it.
        draw, clock, critic, told: as of Objective.
        config: Settings' fields; `start` names a weight file to begin from, `captions` how many there are to learn
            from.
    """
    if config.get("start"):
        _start(model, Path(config.start))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a tenth faster on a CPU
    if config.fit.get("bf16") and has_bf16(torch.device("cpu")):
        write_attention_out(model)
    prompts = latents.Prompts(captions=int(config.get("captions", CAPTIONS)))
    objective = Objective(denoiser, draw, prompts, clock, Settings.of(config), critic, told)
    learning = model if told is None else nn.ModuleList([model, told])
    folder = fit(f"denoiser_{name}", learning, objective.loss, FitConfig(**config.fit), objective.validate)
    model.save_pretrained(folder / "final")  # type: ignore[operator]


def write_attention_out(model: nn.Module) -> None:
    """Do without diffusers' fused attention kernel, whose backward is slow in bfloat16 on a CPU (see `attend`)."""
    for module in model.modules():
        if isinstance(module, Attention) and isinstance(module.processor, AttnProcessor2_0):
            module.set_processor(AttnProcessor())


def _start(model: nn.Module, path: Path) -> None:
    """Load weights; blocks that they lack begin as the identity.

    Raises:
        ValueError: weights that the model has no place for.
    """
    loaded = model.load_state_dict({k: v.float() for k, v in load_file(path).items()}, strict=False)
    if loaded.unexpected_keys:
        raise ValueError(f"{path}: does not fit: {loaded.unexpected_keys[0]}")
    for name in loaded.missing_keys:
        if ".to_out.0." in name or ".ff.net.2." in name:  # (`Cells` begins as nothing by itself)
            nn.init.zeros_(model.get_parameter(name))


class Strays:
    """Clips whose object is between two colours, as samplers make some where a prompt leaves the colour open.

    Args:
        share: of a batch.
    """

    def __init__(self, share: float) -> None:
        self.share, self.store = share, latents.load("tinted") if share else None

    def clips(self, rng: np.random.Generator, batch: int, count: int) -> np.ndarray:
        """Numbers of the training clips of a batch, of `count`; the first have strays."""
        clips = rng.integers(0, count, batch)
        if self.store is not None:
            some = round(self.share * batch)
            clips[:some] = rng.integers(0, min(count, len(self.store)), some)
        return clips

    def of(self, clips: np.ndarray, frames: np.ndarray | None = None) -> torch.Tensor | None:
        """Strays of the first of a batch: whole clips [some, 16, 12, 8, 8], or frames of them."""
        if self.store is None:
            return None
        some = round(self.share * len(clips))
        rows = self.store[clips[:some]] if frames is None else self.store[clips[:some], frames[:some]]
        return torch.from_numpy(rows).float()


def train_image(settings: DictConfig) -> None:
    """Stage `denoiser_image`: single frames of the clips."""
    torch.manual_seed(0)
    store = latents.load("video")
    facts, cells = latents.facts_table(len(store)), latents.object_cells(len(store))

    strays = Strays(float(settings.strays))

    def draw(rng: np.random.Generator, batch: int) -> Sample:
        clips, frames = strays.clips(rng, batch, len(store)), rng.integers(0, store.shape[1], batch)
        clean = torch.from_numpy(store[clips, frames]).float()
        return Sample(clean, facts[clips], cells[clips, frames][:, None], stray=strays.of(clips, frames))

    unet = image_unet()
    train(
        "image", unet, ImageDenoiser(unet), draw, settings, UNTIMED, load_critic("image") if settings.critic else None
    )


def train_audio(settings: DictConfig) -> None:
    """Stage `denoiser_audio`: sounds, some of them between the notes.

    With the six notes alone it learns the pairs of timbre and pitch that it has heard by heart, and makes no other.
    """
    torch.manual_seed(0)
    count, sounds = latents.stored("audio"), latents.sounds(float(settings.detuned))
    events = latents.event_frames(count)

    def draw(rng: np.random.Generator, batch: int) -> Sample:
        clips = rng.integers(0, count, batch)
        clean, facts = sounds(rng, clips)
        return Sample(clean, facts, events=events[clips], strange=facts[:, list(FACTORS).index("colour")] < 0)

    unet = audio_unet()
    clock = AudioEngine({}).clock(ClipSpec())
    train("audio", unet, AudioDenoiser(unet), draw, settings, clock, load_critic("audio") if settings.critic else None)


def train_video(settings: DictConfig) -> None:
    """Stage `denoiser_video`: whole clips."""
    torch.manual_seed(0)
    store = latents.load("video")
    facts, cells = latents.facts_table(len(store)), latents.object_cells(len(store))
    events = latents.event_frames(len(store))

    strays = Strays(float(settings.strays))

    def draw(rng: np.random.Generator, batch: int) -> Sample:
        clips = strays.clips(rng, batch, len(store))
        clean, stray = torch.from_numpy(store[clips]).float().transpose(1, 2), strays.of(clips)
        stray = None if stray is None else stray.transpose(1, 2)
        return Sample(clean, facts[clips], cells[clips][:, None], events[clips], stray=stray)

    transformer = ClipTransformer()
    clock = VideoEngine({}).clock(ClipSpec())
    critic = ClipAndFrames(load_critic("video"), load_critic("image")) if settings.critic else None
    told = Told(transformer.config.width) if settings.told else None
    train("video", transformer, VideoDenoiser(transformer), draw, settings, clock, critic, told)


def train_text(settings: DictConfig) -> None:
    """Stage `denoiser_text`: latents of canonical full captions."""
    torch.manual_seed(0)
    clean, facts = full_caption_latents()

    def draw(rng: np.random.Generator, batch: int) -> Sample:
        rows = torch.from_numpy(rng.integers(0, len(clean), batch))
        return Sample(clean[rows], facts[rows])

    transformer = TextTransformer()
    train("text", transformer, TextDenoiser(transformer), draw, settings, UNTIMED.expand(LATENT_TOKENS))
