"""The published files: which there are, what stands in them, and the configuration that they were made with."""

from __future__ import annotations

from typing import Any

REPOSITORY = "ZinengTang/CoDi"
"""Where the files are published."""

PREFIXES = {
    "unet": "model.diffusion_model.",
    "kl": "autokl.",
    "audioldm": "audioldm.",
    "clip": "clip.model.",
    "clap": "clap.",
    "optimus": "optimus.",
}
"""By part, what its keys start with in the files."""

FILES: dict[str, tuple[str, ...]] = {
    "CoDi_encoders.pth": tuple(prefix for part, prefix in PREFIXES.items() if part != "unet"),
    "CoDi_text_diffuser.pth": ("model.diffusion_model.unet_text.",),
    "CoDi_audio_diffuser_m.pth": ("model.diffusion_model.unet_audio.",),
    "CoDi_video_diffuser_8frames.pth": ("model.diffusion_model.unet_image.",),
}
"""By file, what it brings, in the order in which the release loads them: of a key in two files, the last counts."""

BRINGS: dict[str, tuple[str, ...]] = {
    "CoDi_encoders.pth": (
        "picture_autoencoder",
        "mel_autoencoder",
        "audio_vocoder",
        "clip_text",
        "clip_vision",
        "clip_frames",
        "clap",
        "optimus_encoder",
        "optimus_decoder",
    ),
    "CoDi_text_diffuser.pth": ("text_denoiser", "text_environment", "text_readers"),
    "CoDi_audio_diffuser_m.pth": ("audio_denoiser", "audio_environment", "audio_readers"),
    "CoDi_video_diffuser_8frames.pth": (
        "image_denoiser",
        "image_environment",
        "image_readers",
        "video_frames",
        "video_environment_frames",
    ),
}
"""By file, the components of a bundle that are made of it."""

TOKENIZERS = {
    "clip_tokenizer": "openai/clip-vit-large-patch14",
    "bert_tokenizer": "bert-base-cased",
    "gpt2_tokenizer": "gpt2",
}
"""By component, the repository of its vocabulary, which the files do not hold."""

SCHEDULE = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
"""Buffers of the noise schedule, which are computed here: in half precision they are 7 % off at the first timestep."""

_UNET: dict[str, Any] = {
    "model_channels": 320,
    "num_noattn_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "with_attn": [True, True, True, False],
    "channel_mult_connector": [1, 2, 4],
    "num_noattn_blocks_connector": [1, 1, 1],
    "with_connector": [True, True, True, False],
    "connector_output_channel": 1280,
    "num_heads": 8,
}
_VAE: dict[str, Any] = {"num_res_blocks": 2, "ch": 128, "attn_resolutions": []}

CONFIG: dict[str, Any] = {
    "context_dim": 768,
    "unet_image": {**_UNET, "input_channels": 4, "output_channels": 4, "use_video_architecture": True},
    "unet_text": {
        **_UNET,
        "input_channels": 768,
        "output_channels": 768,
        "second_dim": [4, 4, 4, 4],
        "second_dim_connector": [4, 4, 4],
    },
    "unet_audio": {**_UNET, "model_channels": 192, "input_channels": 8, "output_channels": 8},
    "kl": {
        "embed_dim": 4,
        "ddconfig": {**_VAE, "z_channels": 4, "in_channels": 3, "out_ch": 3, "ch_mult": [1, 2, 4, 4]},
    },
    "audioldm": {
        "embed_dim": 8,
        "ddconfig": {**_VAE, "z_channels": 8, "in_channels": 1, "out_ch": 1, "ch_mult": [1, 2, 4]},
        "hifigan": {"upsample_initial_channel": 1024},
    },
    "clip": {
        "projection_dim": 768,
        "text": {
            "vocab_size": 49408,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
        },
        "vision": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
            "hidden_act": "quick_gelu",
        },
    },
    "clap": {"amodel": "HTSAT-large", "joint_embed_shape": 768},
    "optimus": {
        "hidden": 768,
        "heads": 12,
        "layers": 12,
        "inter": 3072,
        "latent": 768,
        "bert_vocab": 28996,
        "gpt_vocab": 50260,
    },
}
"""The release's configuration at full size, in its own words."""
