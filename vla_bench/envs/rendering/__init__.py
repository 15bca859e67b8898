"""Off-screen rendering with OpenGL."""
