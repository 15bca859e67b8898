"""What a camera's image is drawn into. With one for each camera, software OpenGL draws several at a time."""

from typing import Any

import mujoco


class Framebuffer:
    """Colour and depth of one square image, with a second one to read from where there are samples to average."""

    def __init__(self, gl: Any, size: int, samples: int, *, stencil: bool) -> None:
        """Make the buffers in the context that is current. Reflections need a `stencil`; it makes depth slower."""
        self._gl, self._size, self._stencil = gl, size, stencil
        self._buffers: list[Any] = []
        self.drawn = self._make(samples)
        self.read = self._make(0) if samples else 0

    def use(self, context: mujoco.MjrContext) -> None:
        """Let MuJoCo draw into this one and read from it."""
        context.offFBO, context.offFBO_r = self.drawn, self.read

    def free(self) -> None:
        """Free the buffers, in the context that they were made in."""
        gl = self._gl
        gl.glDeleteRenderbuffers(len(self._buffers), self._buffers)
        frames = [frame for frame in (self.drawn, self.read) if frame]
        gl.glDeleteFramebuffers(len(frames), frames)

    def _make(self, samples: int) -> int:
        gl = self._gl
        frame = int(gl.glGenFramebuffers(1))
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, frame)
        self._attach(gl.GL_COLOR_ATTACHMENT0, gl.GL_RGBA8, samples)
        if self._stencil:
            self._attach(gl.GL_DEPTH_STENCIL_ATTACHMENT, gl.GL_DEPTH32F_STENCIL8, samples)
        else:
            self._attach(gl.GL_DEPTH_ATTACHMENT, gl.GL_DEPTH_COMPONENT32F, samples)
        return frame

    def _attach(self, where: int, kind: int, samples: int) -> None:
        gl = self._gl
        buffer = int(gl.glGenRenderbuffers(1))
        gl.glBindRenderbuffer(gl.GL_RENDERBUFFER, buffer)
        gl.glRenderbufferStorageMultisample(gl.GL_RENDERBUFFER, samples, kind, self._size, self._size)
        gl.glFramebufferRenderbuffer(gl.GL_FRAMEBUFFER, where, gl.GL_RENDERBUFFER, buffer)
        self._buffers.append(buffer)
