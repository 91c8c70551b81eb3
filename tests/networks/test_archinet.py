"""U-Nets in the key scheme of the released checkpoints: with plug-ins in, and out again."""

import pytest
import torch

import mousai  # noqa: F401  (installs the torchaudio hook)
from mousai.networks import archinet
from mousai.networks.unet1d import UNet1d, UNet1dConfig
from mousai.networks.unetv0 import arguments


@pytest.mark.parametrize("text", [False, True])
def test_a_generator_with_guidance_gives_its_core_and_its_null_embedding(text, monkeypatch):
    from audio_diffusion_pytorch import UNetV0, components

    class Words(torch.nn.Module):
        embedding_features = 12

        def __init__(self):
            super().__init__()
            self.transformer = torch.nn.Linear(12, 12)

        def forward(self, texts):
            return torch.arange(len(texts) * 60.0).view(len(texts), 5, 12).sin()

    config = UNet1dConfig(
        in_channels=4, channels=(8, 16), factors=(1, 2), items=(1, 1), attentions=(0, 1), cross_attentions=(1, 1),
        attention_heads=2, attention_features=8, embedding_features=12, modulation_features=32,
    )  # fmt: skip
    torch.manual_seed(0)
    words = components.TextConditioningPlugin
    monkeypatch.setattr(components, "TextConditioningPlugin", lambda net_t: words(net_t, Words()))  # T5 is a download
    theirs = UNetV0(use_embedding_cfg=True, use_text_conditioning=text, embedding_max_length=5, dim=1, in_channels=4, **arguments(config))
    tokens = Words()(["a", "b"])
    ours = UNet1d(config)
    ours.load_state_dict(archinet.unet_state(theirs.state_dict(), config))
    null = archinet.null_embedding(theirs.state_dict())
    assert null.shape == (5, 12)
    x, t = torch.randn(2, 4, 16), torch.tensor([0.3, 0.6])
    given = dict(text=["a", "b"]) if text else dict(embedding=tokens)
    expected = theirs(x, time=t, embedding_scale=3.0, **given)
    known = ours(x, t, tokens=tokens)
    unknown = ours(x, t, tokens=null.expand(2, -1, -1))
    torch.testing.assert_close(unknown + 3.0 * (known - unknown), expected, atol=1e-5, rtol=1e-4)

    plain = archinet.unetv0_state(ours.state_dict(), config)
    assert plain.keys() == archinet.plain_unet(theirs.state_dict()).keys()
    guided = UNetV0(use_embedding_cfg=True, embedding_max_length=5, dim=1, in_channels=4, **arguments(config))
    guided.load_state_dict(archinet.with_null_embedding(plain, null))
    torch.testing.assert_close(guided(x, time=t, embedding=tokens, embedding_scale=3.0), expected, atol=1e-5, rtol=1e-5)
