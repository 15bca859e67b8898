"""pi0 (Black et al., 2024) through transformers' own implementation: its checkpoint folders, inputs and statistics."""
