"""The perturbation axes by theme.

No module here imports MuJoCo at the top, because environments select the OpenGL backend before MuJoCo is loaded.
"""
