"""OpenVLA-OFT: an OpenVLA network that regresses a chunk of actions in one forward pass (Kim et al., 2025)."""
