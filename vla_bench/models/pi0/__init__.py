"""pi0 (Black et al., 2024) on transformers' implementation: checkpoint folders, processor and normalization."""
