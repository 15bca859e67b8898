"""The axes, a module each. No MuJoCo at import: environments choose the OpenGL before it is loaded."""
