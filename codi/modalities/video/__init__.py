"""Video: the image autoencoder frame by frame, the image denoiser with motion modules."""

from __future__ import annotations

from codi.modality import Engine, Modality


def _engine() -> type[Engine]:
    from codi.modalities.video.engine import VideoEngine

    return VideoEngine


MODALITY = Modality(
    name="video",
    classes={"VideoPromptEncoder": "codi.modalities.video.prompt"},
    prompts=("video_prompt_encoder",),
    stands=("image_autoencoder", "image_denoiser", "video_motion", "video_environment_encoder"),
    generates=(
        "image_autoencoder",
        "image_denoiser",
        "video_motion",
        "video_environment_encoder",
        "video_bridge",
        "video_scheduler",
    ),
    engine=_engine,
)
