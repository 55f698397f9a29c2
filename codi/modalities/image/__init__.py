"""Images: pictures of 64x64; one may stand at an instant of the clip."""

from __future__ import annotations

from codi.modality import Engine, Modality


def _engine() -> type[Engine]:
    from codi.modalities.image.engine import ImageEngine

    return ImageEngine


MODALITY = Modality(
    name="image",
    classes={"ImagePromptEncoder": "codi.modalities.image.prompt"},
    prompts=("image_prompt_encoder",),
    stands=("image_autoencoder", "image_denoiser", "image_environment_encoder"),
    generates=("image_autoencoder", "image_denoiser", "image_environment_encoder", "image_bridge", "image_scheduler"),
    engine=_engine,
    instant=True,
)
