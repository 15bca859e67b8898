"""MuJoCo Warp: batched copies of a tabletop world, on a GPU, or slowly on the CPU.

The model and a simulation state are read from files that `vla_bench.performance.measures.mujoco_warp` writes,
because this file runs in the peer's Python. Options: `model` (.mjb), `snapshot` (.npz), `worlds`, `cameras` (whether
to render), and `agreement`: a file for the differences from MuJoCo, or an empty string.
"""

import os
from typing import Any

TITLE = "MuJoCo Warp"
DISTRIBUTIONS = ("mujoco-warp", "warp-lang", "mujoco")
MEASURE = "mujoco-warp"  # measured by this measure instead of `peers`
_EPISODE_STEPS = 200  # control steps
_MAX_ACTION = 0.3  # absolute limit of random actions
_COMPARED_STEPS = (1, 10, 100)  # physics steps


def make(options: Any) -> Any:
    """Return the workload; raise RuntimeError where this Python's MuJoCo cannot read the model."""
    import mujoco
    import numpy as np
    import warp as wp  # type: ignore[import-not-found]

    wp.config.quiet = True
    snapshot = dict(np.load(options["snapshot"]))
    if mujoco.__version__ != str(snapshot["mujoco"]):
        wanted = str(snapshot["mujoco"])
        raise RuntimeError(f"This Python has mujoco {mujoco.__version__}; the model was compiled with {wanted}.")
    model = mujoco.MjModel.from_binary_path(options["model"])
    worlds = Worlds(model, snapshot, options["worlds"], options["cameras"])
    if options["agreement"]:
        import json

        with open(options["agreement"], "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(worlds.agreement(), file)
        worlds.reset()
    return worlds


class Worlds:
    """A workload whose step is a control step of all worlds under random actions, with images if requested."""

    def __init__(self, model: Any, snapshot: Any, count: int, cameras: bool) -> None:
        import mujoco
        import mujoco_warp as mjw  # type: ignore[import-not-found]
        import numpy as np
        import warp as wp

        self._wp, self._mjw, self._np, self._mujoco = wp, mjw, np, mujoco
        self._host, self._snapshot, self._count = model, snapshot, count
        self._model = mjw.put_model(model)
        start = self._at_start()
        room = {"nconmax": int(snapshot["contacts"]), "njmax": int(snapshot["constraints"])}
        self._data = mjw.put_data(model, start, nworld=count, **room)
        self._start = wp.array(np.tile(snapshot["state"], (count, 1)), dtype=float)
        self._control = _Control(self._model, model, snapshot, count)
        self._generator = np.random.default_rng(0)
        self._taken = 0
        size = int(snapshot["image_size"])
        self._render_context = (
            mjw.create_render_context(
                model,
                nworld=count,
                cam_res=(size, size),
                render_rgb=True,
                enabled_geom_groups=[int(snapshot["group"])],
                cam_active=[bool(active) for active in snapshot["cameras"]],
            )
            if cameras
            else None
        )
        self._work = self._captured(self._advance)
        self.reset()

    def step(self) -> bool:
        """Run one control step in every world and wait for the device."""
        actions = self._generator.uniform(-_MAX_ACTION, _MAX_ACTION, (self._count, 6)).astype(self._np.float32)
        self._control.set_goals(self._data, actions)
        self._work()
        self._wp.synchronize()
        self._taken += 1
        return self._taken % _EPISODE_STEPS == 0

    def reset(self) -> None:
        """Set every world to the recorded state."""
        self._mjw.set_state(self._model, self._data, self._start, int(self._mujoco.mjtState.mjSTATE_INTEGRATION))
        self._mjw.forward(self._model, self._data)

    def agreement(self) -> Any:
        """Return the differences of torques, contacts, states and images from MuJoCo and vla_bench."""
        self.reset()
        found = {"torque_nm": self._control.difference(self._data, self._snapshot), "contacts": self._contacts()}
        found["states"] = self._states()
        if self._render_context is not None:
            self.reset()
            self._render()
            found["images_db"] = self._differences()
        return found

    def _advance(self) -> None:
        for substep in range(int(self._snapshot["substeps"])):
            if substep:
                self._mjw.step1(self._model, self._data)
            self._control.apply(self._data)
            self._mjw.step2(self._model, self._data)
        self._mjw.step1(self._model, self._data)
        if self._render_context is not None:
            self._render()

    def _render(self) -> None:
        self._mjw.refit_bvh(self._model, self._data, self._render_context)
        self._mjw.render(self._model, self._data, self._render_context)

    def _captured(self, work: Any) -> Any:
        """Return `work` as one launch where the device can record it."""
        work()  # compiles the kernels
        if not self._wp.get_device().is_cuda:
            return work
        with self._wp.ScopedCapture() as capture:
            work()
        return lambda: self._wp.capture_launch(capture.graph)

    def _at_start(self) -> Any:
        data = self._mujoco.MjData(self._host)
        self._mujoco.mj_setState(self._host, data, self._snapshot["state"], self._mujoco.mjtState.mjSTATE_INTEGRATION)
        self._mujoco.mj_forward(self._host, data)
        return data

    def _contacts(self) -> Any:
        """Return the numbers of contacts in MuJoCo and in Warp for each pair of geoms where they differ."""
        self.reset()
        there = int(self._data.nacon.numpy()[0]) // self._count
        theirs = self._pairs(self._data.contact.geom.numpy()[: there * self._count])
        ours = self._pairs(self._at_start().contact.geom)
        counts = {pair: (ours.count(pair), theirs.count(pair) // self._count) for pair in {*ours, *theirs}}
        return {" and ".join(pair): both for pair, both in counts.items() if both[0] != both[1]}

    def _pairs(self, geoms: Any) -> Any:
        return [tuple(self._host.geom(int(geom)).name for geom in sorted(pair)) for pair in geoms]

    def _states(self) -> Any:
        """Return the largest differences of joints and objects after physics steps under the same torques."""
        self.reset()
        data = self._at_start()
        data.ctrl[:] = self._snapshot["ctrl"]
        self._data.ctrl.assign(self._np.tile(data.ctrl, (self._count, 1)))
        arm, found = len(self._snapshot["qpos"]), {}
        for step in range(1, _COMPARED_STEPS[-1] + 1):
            self._mujoco.mj_step(self._host, data)
            self._mjw.step(self._model, self._data)
            if step in _COMPARED_STEPS:
                apart = self._np.abs(self._data.qpos.numpy()[0] - data.qpos)
                fast = self._np.abs(self._data.qvel.numpy()[0] - data.qvel)
                found[step] = {
                    "arm_rad": float(apart[:arm].max()),
                    "objects": float(apart[arm:].max()),
                    "objects_per_s": float(fast[arm:].max()),
                }
        return found

    def _differences(self) -> Any:
        """Return the PSNR of each camera's image against vla_bench's image [dB]."""
        size, found = int(self._snapshot["image_size"]), []
        for number, ours in enumerate(self._snapshot["images"]):
            image = self._wp.zeros((self._count, size, size), dtype=self._wp.vec3)
            self._mjw.get_rgb(self._render_context, number, image)
            theirs = self._np.clip(image.numpy()[0] * 255.0, 0, 255).round()
            error = self._np.mean((theirs - ours.astype(float)) ** 2)
            found.append(float(10 * self._np.log10(255.0**2 / max(error, 1e-9))))
            self._snapshot[f"theirs_{number}"] = theirs.astype(self._np.uint8)
        return found


class _Control:
    """vla_bench's controller in every world."""

    def __init__(self, device_model: Any, model: Any, snapshot: Any, count: int) -> None:
        import importlib.util

        import mujoco_warp as mjw
        import numpy as np
        import warp as wp

        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
        spec = importlib.util.spec_from_file_location("warp_kernels", os.path.join(folder, "warp_kernels.py"))  # noqa: PTH118
        assert spec is not None
        assert spec.loader is not None
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._kernels = module.kernels(wp)
        self._wp, self._mjw, self._model, self._count = wp, mjw, device_model, count
        self._site = int(snapshot["site"])
        self._scale = float(snapshot["most_m"]), float(snapshot["most_rad"])
        self._point = wp.zeros(count, dtype=wp.vec3)
        self._body = wp.array(np.full(count, model.site_bodyid[self._site]), dtype=int)
        self._jacobians = [wp.zeros((count, 3, model.nv), dtype=float) for _ in range(2)]
        self._goal = wp.zeros(count, dtype=wp.vec3), wp.zeros(count, dtype=wp.mat33)
        self._deltas = wp.zeros(count, dtype=wp.vec3), wp.zeros(count, dtype=wp.vec3)
        self._constants = [
            *(wp.array(part, dtype=int) for part in _mass_addresses(device_model, model, snapshot["dof"])),
            *(wp.array(snapshot[name], dtype=int) for name in ("dof", "qpos", "actuators")),
            *(wp.array(snapshot[name], dtype=float) for name in ("limits", "rest")),
            wp.vec2(*(float(gain) for gain in snapshot["gains"])),
            self._site,
        ]

    def set_goals(self, data: Any, actions: Any) -> None:
        """Set the goals of all worlds from actions (worlds, 6)."""
        self._deltas[0].assign(actions[:, :3] * self._scale[0])
        self._deltas[1].assign(actions[:, 3:] * self._scale[1])
        poses = [data.site_xpos, data.site_xmat, self._site]
        self._wp.launch(self._kernels.set_goal, dim=self._count, inputs=[*poses, *self._deltas], outputs=[*self._goal])

    def apply(self, data: Any) -> None:
        """Write the torques of all worlds; positions and velocities must be up to date."""
        launch, kernels = self._wp.launch, self._kernels
        launch(kernels.read_site, dim=self._count, inputs=[data.site_xpos, self._site], outputs=[self._point])
        self._mjw.jac(self._model, data, *self._jacobians, self._point, self._body)
        state = [data.qpos, data.qvel, data.qfrc_bias, data.site_xpos, data.site_xmat]
        inputs = [*self._jacobians, data.M, *self._constants, *state, *self._goal]
        launch(kernels.control, dim=self._count, inputs=inputs, outputs=[data.ctrl])

    def difference(self, data: Any, snapshot: Any) -> float:
        """Return the largest difference from vla_bench's torques for the same state and goal [N m]."""
        self._goal[0].assign(snapshot["goal_position"][None].repeat(self._count, axis=0))
        self._goal[1].assign(snapshot["goal_matrix"][None].repeat(self._count, axis=0))
        self.apply(data)
        found = data.ctrl.numpy()[0][snapshot["actuators"]] - snapshot["ctrl"][snapshot["actuators"]]
        return float(abs(found).max())


def _mass_addresses(device_model: Any, model: Any, dof: Any) -> Any:
    """Return the row and column indices of the arm's elements in Warp's mass matrix, each (n, n)."""
    import numpy as np

    if not device_model.is_sparse:
        return np.meshgrid(dof, dof, indexing="ij")
    addresses = np.zeros((len(dof), len(dof)), dtype=int)
    for i, row in enumerate(dof):
        for j, column in enumerate(dof):
            low, high = min(row, column), max(row, column)
            first = model.M_rowadr[high]
            there = list(model.M_colind[first : first + model.M_rownnz[high]])
            addresses[i, j] = first + there.index(low)
    return np.zeros_like(addresses), addresses
