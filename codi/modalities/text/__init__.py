"""Text: a caption; its tokens are global, they stand at no time."""

from __future__ import annotations

from codi.modality import Engine, Modality


def _engine() -> type[Engine]:
    from codi.modalities.text.engine import TextEngine

    return TextEngine


MODALITY = Modality(
    name="text",
    classes={
        "TextPromptEncoder": "codi.modalities.text.prompt",
        "TextAutoencoder": "codi.modalities.text.autoencoder",
        "TextTransformer": "codi.modalities.text.denoiser",
    },
    prompts=("tokenizer", "text_encoder", "text_prompt_encoder"),
    stands=("tokenizer", "text_encoder", "text_autoencoder", "text_denoiser", "text_environment_encoder"),
    generates=(
        "tokenizer",
        "text_autoencoder",
        "text_denoiser",
        "text_environment_encoder",
        "text_bridge",
        "text_scheduler",
    ),
    engine=_engine,
)
