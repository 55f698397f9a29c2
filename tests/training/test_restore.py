"""`restore`: training goes on where the runs folder was lost."""

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from codi import CoDiPipeline
from codi.training.bundle import restore
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
