"""Video: the image autoencoder frame by frame, a transformer that decides and a painter that draws."""

from __future__ import annotations

from codi.modality import Engine, Modality


def _engine() -> type[Engine]:
    from codi.modalities.video.engine import VideoEngine

    return VideoEngine


MODALITY = Modality(
    name="video",
    classes={
        "VideoPromptEncoder": "codi.modalities.video.prompt",
        "ClipTransformer": "codi.networks.clip_transformer",
    },
    prompts=("video_prompt_encoder",),
    stands=("image_autoencoder", "video_painter", "video_denoiser", "video_environment_encoder"),
    generates=(
        "image_autoencoder",
        "video_painter",
        "video_denoiser",
        "video_environment_encoder",
        "video_bridge",
        "video_scheduler",
    ),
    engine=_engine,
)
