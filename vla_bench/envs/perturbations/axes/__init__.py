"""The perturbation axes by theme.

No module here imports MuJoCo at the top: environments choose the OpenGL backend before it is loaded.
"""
