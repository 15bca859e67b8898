"""Augmentations of training samples that keep image, action and instruction consistent."""
