"""OpenVLA-OFT's L1 regression head. Attribute names are those of its published files."""

import torch
from torch import nn

RESIDUAL_BLOCKS = 2


class ResidualBlock(nn.Module):
    """Norm, linear, ReLU, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return (..., width) of hidden (..., width)."""
        return hidden + self.ffn(hidden)  # type: ignore[no-any-return]


class ResidualMLP(nn.Module):
    """Two residual blocks between an input and an output layer, each of these behind a norm."""

    def __init__(self, input_dim: int, width: int, output_dim: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(input_dim)
        self.fc1 = nn.Linear(input_dim, width)
        self.mlp_resnet_blocks = nn.ModuleList(ResidualBlock(width) for _ in range(RESIDUAL_BLOCKS))
        self.layer_norm2 = nn.LayerNorm(width)
        self.fc2 = nn.Linear(width, output_dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (..., output_dim) of features (..., input_dim)."""
        hidden = torch.relu(self.fc1(self.layer_norm1(features)))
        for block in self.mlp_resnet_blocks:
            hidden = block(hidden)
        return self.fc2(self.layer_norm2(hidden))  # type: ignore[no-any-return]


class L1RegressionHead(nn.Module):
    """One normalised action of the decoder's states at that action's slots, side by side."""

    def __init__(self, text_dim: int, action_dim: int) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.model = ResidualMLP(text_dim * action_dim, text_dim, action_dim)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (B, chunk, action_dim) of decoder states (B, chunk * action_dim, text_dim)."""
        chunk = states.shape[1] // self.action_dim
        return self.model(states.reshape(len(states), chunk, -1))  # type: ignore[no-any-return]
