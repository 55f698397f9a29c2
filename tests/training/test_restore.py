"""`restore` and `blend`: training goes on from bundles."""

import shutil

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from codi import CoDiPipeline
from codi.bridge import Bridge
from codi.environment import EnvironmentEncoder
from codi.training.bundle import blend, restore
from codi.training.critic import PictureCritic, critic_weights, load_critic
from codi.training.loop import runs_folder


def test_bundle_and_critics_come_back_and_what_is_there_stays(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("CODI_RUNS", str(tmp_path / "runs"))
    critic = PictureCritic()
    (tmp_path / "critics").mkdir()
    save_file(critic.state_dict(), tmp_path / "critics" / "image.safetensors")
    settings = OmegaConf.create({"folder": str(bundle), "critics": str(tmp_path / "critics")})
    restore(settings)
    latent = torch.randn(2, 12, 8, 8)
    for name, logits in load_critic("image")(latent).items():
        assert torch.equal(logits, critic.eval()(latent)[name])
    pipe = CoDiPipeline.from_pretrained(bundle, outputs=["image"])
    kind = type(pipe.components["image_denoiser"])
    back = kind.from_pretrained(runs_folder() / "denoiser_image" / "final").state_dict()
    for name, weights in pipe.components["image_denoiser"].state_dict().items():
        assert torch.equal(back[name], weights.float())

    critic_weights("image").write_bytes(b"of a later training")
    restore(settings)
    assert critic_weights("image").read_bytes() == b"of a later training"


def test_a_blend_is_the_mean_of_bridges(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("CODI_RUNS", str(tmp_path / "runs"))
    own = Bridge.from_pretrained(bundle / "audio_bridge").float()
    shutil.copytree(bundle, tmp_path / "other")
    moved = Bridge.from_pretrained(bundle / "audio_bridge").float()
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.add_(2.0)
    moved.save_pretrained(tmp_path / "other" / "audio_bridge")
    blend(OmegaConf.create({"bundles": [str(bundle), str(tmp_path / "other")]}))
    mean = Bridge.from_pretrained(runs_folder() / "bridges" / "final" / "audio_bridge").state_dict()
    for name, parameter in own.named_parameters():
        assert torch.allclose(mean[name], parameter + 1.0, atol=1e-2)
    same = EnvironmentEncoder.from_pretrained(bundle / "image_environment_encoder").state_dict()
    kept = EnvironmentEncoder.from_pretrained(runs_folder() / "bridges" / "final" / "image_environment_encoder")
    assert all(torch.equal(kept.state_dict()[name], weight.float()) for name, weight in same.items())
