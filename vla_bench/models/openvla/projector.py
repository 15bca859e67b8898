"""What carries images and proprioception into the decoder's embedding space."""

import torch
from torch import nn


class FusedProjector(nn.Module):
    """OpenVLA's three-layer projector of fused patch features."""

    def __init__(self, vision_dim: int, text_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision_dim, 4 * vision_dim)
        self.fc2 = nn.Linear(4 * vision_dim, text_dim)
        self.fc3 = nn.Linear(text_dim, text_dim)
        self.act_fn1 = nn.GELU()
        self.act_fn2 = nn.GELU()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (B, patches, text_dim) of features (B, patches, vision_dim)."""
        hidden: torch.Tensor = self.act_fn2(self.fc2(self.act_fn1(self.fc1(features))))
        return self.fc3(hidden)  # type: ignore[no-any-return]


class PlainProjector(nn.Module):
    """The two-layer projector of a single tower's patch features."""

    def __init__(self, vision_dim: int, text_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision_dim, text_dim)
        self.fc2 = nn.Linear(text_dim, text_dim)
        self.act_fn1 = nn.GELU()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (B, patches, text_dim) of features (B, patches, vision_dim)."""
        return self.fc2(self.act_fn1(self.fc1(features)))  # type: ignore[no-any-return]


class ProprioceptionProjector(nn.Module):
    """OpenVLA-OFT's two-layer projector: the whole proprioception becomes one token."""

    def __init__(self, proprioception_dim: int, text_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(proprioception_dim, text_dim)
        self.fc2 = nn.Linear(text_dim, text_dim)
        self.act_fn1 = nn.GELU()

    def forward(self, proprioception: torch.Tensor) -> torch.Tensor:
        """Return (B, 1, text_dim) of normalised proprioception (B, proprioception_dim)."""
        token: torch.Tensor = self.fc2(self.act_fn1(self.fc1(proprioception)))
        return token[:, None]
