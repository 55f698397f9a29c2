"""What media become in front of the denoisers: CLIP over frames, the mel front ends, the Optimus text autoencoder.

The towers themselves are transformers' classes; here stands what no library has.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torchaudio
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import nn
from torch.nn import functional
from transformers import (
    BertConfig,
    BertModel,
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    DynamicCache,
    GPT2Config,
    GPT2Model,
)

from codi.backbones.codi_v1.temporal import TokenTemporalLayer
from codi.components import component

RATE, HOP = 16_000, 160
"""Samples a second of the sounds that go in and out, and samples of a mel frame."""


def unit(features: torch.Tensor) -> torch.Tensor:
    """[batch, channels] -> one token of unit norm, [batch, 1, channels]."""
    return (features / features.norm(dim=-1, keepdim=True))[:, None]


def text_token(model: CLIPTextModelWithProjection, ids: torch.Tensor) -> torch.Tensor:
    """Padded ids [batch, 77] -> [batch, 1, channels]; pooled at the end token, as CLIP (Radford et al. 2021)."""
    return unit(model(input_ids=ids).text_embeds)


def picture_token(model: CLIPVisionModelWithProjection, pixels: torch.Tensor) -> torch.Tensor:
    """Normalised pixels [batch, 3, height, width] -> [batch, 1, channels]."""
    return unit(model(pixel_values=pixels).image_embeds)


SOUND_RATE = 48_000
"""Samples a second that CLAP hears; ten seconds of them, shorter sounds repeated."""


@cache
def sound_extractor() -> ClapFeatureExtractor:
    """LAION-CLAP's mel front end without fusion."""
    return ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=SOUND_RATE,
        hop_length=480,
        max_length_s=10,
        fft_window_size=1024,
        frequency_min=50,
        frequency_max=14_000,
        truncation="rand_trunc",
        padding="repeatpad",
    )


def audio_token(model: ClapAudioModelWithProjection, samples: torch.Tensor) -> torch.Tensor:
    """Sounds at 16 kHz, [batch, N], of which the first 10 s are heard -> [batch, 1, channels].

    The release takes ten random seconds of a longer sound; the first ten give the same token every time.
    """
    heard = torchaudio.functional.resample(samples.float().cpu()[:, : 10 * RATE], RATE, SOUND_RATE)
    mels = sound_extractor()(list(heard.numpy()), sampling_rate=SOUND_RATE, return_tensors="pt")["input_features"]
    parameter = next(model.parameters())
    return unit(model(input_features=mels.to(parameter.device, parameter.dtype)).audio_embeds)


@component
class ClipFrames(ModelMixin, ConfigMixin):
    """The temporal attention inside every layer of CLIP's vision tower.

    Args:
        depth: layers of the tower; channels: its width; inner: of all heads together; heads: attention heads;
            hidden: of the feed-forward.
    """

    @register_to_config
    def __init__(
        self, depth: int = 24, channels: int = 1024, inner: int = 1024, heads: int = 16, hidden: int = 2730
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList([TokenTemporalLayer(channels, inner, heads, hidden) for _ in range(depth)])

    def forward(self, model: CLIPVisionModelWithProjection, pixels: torch.Tensor) -> torch.Tensor:
        """A clip's token: the tower frame by frame, its frames mixed after each self-attention, their mean at the end.

        Args:
            model: the tower, which is not changed.
            pixels: normalised, [batch, frames, 3, height, width].

        Returns:
            [batch, 1, channels] of unit norm.
        """
        frames, tower = pixels.shape[1], model.vision_model
        hidden = tower.pre_layrnorm(tower.embeddings(rearrange(pixels, "b t c h w -> (b t) c h w")))
        for layer, mix in zip(tower.encoder.layers, self.layers, strict=True):
            attended, _ = layer.self_attn(hidden_states=layer.layer_norm1(hidden), attention_mask=None)
            hidden = mix(hidden + attended, frames)
            hidden = hidden + layer.mlp(layer.layer_norm2(hidden))
        pooled = rearrange(hidden, "(b t) n c -> b t n c", t=frames).mean(dim=1)[:, 0]
        return unit(model.visual_projection(tower.post_layernorm(pooled)))


@cache
def _mel() -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(
        sample_rate=RATE, n_fft=1024, hop_length=HOP, n_mels=64, f_min=0.0, f_max=8000.0, power=1.0,
        norm="slaney", mel_scale="slaney", center=True, pad_mode="reflect",
    )  # fmt: skip


def log_mel(samples: torch.Tensor, frames: int) -> torch.Tensor:
    """The front end of AudioLDM (Liu et al. 2023): waveform at 16 kHz -> natural log of the mel magnitudes.

    The sound is centred and its peak set to a half, as released; then cut, or filled with silence, to the frames.

    Args:
        samples: [batch, N].
        frames: of 10 ms.

    Returns:
        [batch, 1, frames, 64].
    """
    centred = samples - samples.mean(dim=1, keepdim=True)
    peak = centred.abs().amax(dim=1, keepdim=True) + 1e-8
    sound = functional.pad(0.5 * centred / peak, (0, max(0, HOP * frames - samples.shape[1])))[:, : HOP * frames]
    magnitude = _mel().to(samples.device)(sound)[..., :frames]
    return rearrange(magnitude.clamp(min=1e-5).log(), "b f t -> b 1 t f")


@component
class OptimusEncoder(ModelMixin, ConfigMixin):
    """Text -> a vector: BERT, its pooler and a linear map without bias (Optimus, Li et al. 2020).

    Args:
        vocabulary: word pieces; hidden, heads, layers, inner, positions: of BERT; latent: numbers in the vector.
    """

    @register_to_config
    def __init__(
        self,
        vocabulary: int = 28996,
        hidden: int = 768,
        heads: int = 12,
        layers: int = 12,
        inner: int = 3072,
        positions: int = 512,
        latent: int = 768,
    ) -> None:
        super().__init__()
        self.bert = BertModel(
            BertConfig(
                vocab_size=vocabulary,
                hidden_size=hidden,
                num_attention_heads=heads,
                num_hidden_layers=layers,
                intermediate_size=inner,
                max_position_embeddings=positions,
            )
        )
        self.linear = nn.Linear(hidden, 2 * latent, bias=False)

    def pooled(self, ids: torch.Tensor) -> torch.Tensor:
        """[batch, length] ids, 0 where padded -> [batch, hidden]."""
        return self.bert(input_ids=ids, attention_mask=(ids > 0).long()).pooler_output

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance of the latent, each [batch, latent]; CoDi uses the mean alone."""
        mean, log_variance = self.linear(self.pooled(ids)).chunk(2, dim=-1)
        return mean, log_variance


@component
class OptimusDecoder(ModelMixin, ConfigMixin):
    """A vector -> text: GPT-2 that is given the vector twice (Optimus, Li et al. 2020, section 3.2).

    Once added to every token's embedding, once as memory: a slot of its own in every layer, which serves as key and
    value and takes position 0, so that the words' positions start at 1.

    Args:
        vocabulary: tokens, three of them added to GPT-2's; hidden, heads, layers, positions: of GPT-2;
            latent: numbers in the vector.
    """

    @register_to_config
    def __init__(
        self,
        vocabulary: int = 50260,
        hidden: int = 768,
        heads: int = 12,
        layers: int = 12,
        inner: int | None = None,
        positions: int = 1024,
        latent: int = 768,
    ) -> None:
        super().__init__()
        config: dict[str, Any] = {"n_embd": hidden, "n_head": heads, "n_layer": layers, "n_positions": positions}
        self.gpt2 = GPT2Model(
            GPT2Config(vocab_size=vocabulary, n_inner=inner, bos_token_id=None, eos_token_id=None, **config)
        )
        self.memory = nn.Linear(latent, layers * hidden, bias=False)
        self.embedded = nn.Linear(latent, hidden, bias=False)

    def memories(self, latent: torch.Tensor) -> DynamicCache:
        """The cache that a sentence starts from: one slot a layer, [batch, latent] -> key = value."""
        slots = rearrange(self.memory(latent), "b (l h c) -> l b h 1 c", l=self.config.layers, h=self.config.heads)
        cache_ = DynamicCache()
        for layer, slot in enumerate(slots):
            cache_.update(slot, slot, layer)
        return cache_

    def forward(self, ids: torch.Tensor, latent: torch.Tensor, memory: DynamicCache | None = None) -> torch.Tensor:
        """Logits of the next tokens.

        Args:
            ids: [batch, length] that follow what `memory` holds.
            latent: [batch, latent].
            memory: of a sentence that goes on; `memories(latent)` where it starts. Extended.

        Returns:
            [batch, length, vocabulary].
        """
        memory = self.memories(latent) if memory is None else memory
        words = self.gpt2.wte(ids) + self.embedded(latent)[:, None]
        hidden = self.gpt2(inputs_embeds=words, past_key_values=memory, use_cache=True).last_hidden_state
        return functional.linear(hidden, self.gpt2.wte.weight)

    @torch.no_grad()
    def sample(
        self, latent: torch.Tensor, start: int, end: int, generator: torch.Generator, length: int = 30
    ) -> list[int]:
        """Draw one sentence at temperature 1.

        Args:
            latent: [1, latent].
            start, end: ids of BOS and EOS.
            generator: on the CPU.
            length: tokens at most.

        Returns:
            The ids with BOS, and with EOS where the sentence ended.
        """
        ids, memory = [start], self.memories(latent)
        while len(ids) < length + 1 and (len(ids) == 1 or ids[-1] != end):
            last = torch.tensor([[ids[-1]]], device=latent.device)
            odds = self(last, latent, memory)[0, -1].float().softmax(dim=-1).cpu()
            ids.append(int(torch.multinomial(odds, 1, generator=generator)))
        return ids
