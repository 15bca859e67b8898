"""Pretraining of a small OpenVLA from random weights: visual grounding, then imitation with grounding in the mix."""
