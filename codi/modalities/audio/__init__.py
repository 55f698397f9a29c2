"""Audio: 16 kHz mono through mel latents and a vocoder."""

from __future__ import annotations

from codi.modality import Engine, Modality


def _engine() -> type[Engine]:
    from codi.modalities.audio.engine import AudioEngine

    return AudioEngine


MODALITY = Modality(
    name="audio",
    classes={"AudioPromptEncoder": "codi.modalities.audio.prompt", "Vocoder": "codi.modalities.audio.vocoder"},
    prompts=("audio_prompt_encoder",),
    stands=("audio_autoencoder", "audio_denoiser", "audio_environment_encoder"),
    generates=(
        "audio_autoencoder",
        "audio_vocoder",
        "audio_denoiser",
        "audio_environment_encoder",
        "audio_bridge",
        "audio_scheduler",
    ),
    engine=_engine,
)
