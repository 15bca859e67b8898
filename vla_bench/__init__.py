"""Demonstrations, fine-tuning, evaluation and a leaderboard for vision-language-action policies."""

__version__ = "0.1.0"
