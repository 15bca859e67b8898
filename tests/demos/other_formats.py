"""The same episodes in every format, written as the format's own tools write them."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tests.demos.synthetic import demonstration, header
from vla_bench.core.geometry import quat_wxyz_to_axis_angle
from vla_bench.core.types import ProprioceptionField
from vla_bench.demos import write_demonstrations
from vla_bench.demos.sources import SourceOptions

SIDE = 24
HZ = 20
CAMERAS = ("agentview", "wrist")
FIELDS = (
    ProprioceptionField("end_effector_position", 3, "m"),
    ProprioceptionField("end_effector_axis_angle", 3, "rad"),
    ProprioceptionField("gripper_position", 2, "m"),
    ProprioceptionField("joint_positions", 7, "rad"),
)


@dataclass(frozen=True)
class Content:
    """One episode in our conventions."""

    instruction: str
    images: dict[str, NDArray[np.uint8]]
    position: NDArray[np.float32]
    hand_quat_xyzw: NDArray[np.float64]  # as robosuite observes it
    hand_axis_angle: NDArray[np.float32]
    axis_angle: NDArray[np.float32]
    fingers: NDArray[np.float32]
    joints: NDArray[np.float32]
    actions: NDArray[np.float32]

    @property
    def proprioception(self) -> NDArray[np.float32]:
        """All fields, (T, 15)."""
        return np.concatenate([self.position, self.axis_angle, self.fingers, self.joints], axis=1)


def content(index: int = 0, instruction: str = "reach for the cube", steps: int = 12) -> Content:
    """Return an episode whose images differ in all four corners and from step to step."""
    draw = np.random.default_rng([7, index])
    half_angle = draw.uniform(0.1, np.pi - 0.1, steps)  # beyond pi / 2 the quaternion's w is negative
    axis = draw.normal(size=(steps, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    quat = np.concatenate([axis * np.sin(half_angle)[:, None], np.cos(half_angle)[:, None]], axis=1)
    actions = draw.uniform(-1, 1, (steps, 7)).astype(np.float32)
    actions[:, 6] = np.where(np.arange(steps) < steps // 2, -1, 1)
    return Content(
        instruction=instruction,
        images={name: _images(steps, index, shade) for name, shade in zip(CAMERAS, (40, 90), strict=True)},
        position=draw.normal(size=(steps, 3)).astype(np.float32),
        hand_quat_xyzw=quat,
        hand_axis_angle=(axis * 2 * half_angle[:, None]).astype(np.float32),
        axis_angle=np.array([_grip_site_axis_angle(one) for one in quat], dtype=np.float32),
        fingers=draw.uniform(0, 0.04, (steps, 2)).astype(np.float32),
        joints=draw.normal(size=(steps, 7)).astype(np.float32),
        actions=actions,
    )


def write_ours(folder: Path, episodes: Sequence[Content]) -> Path:
    """Write with our own writer."""
    path = folder / "ours.hdf5"
    made = []
    for index, one in enumerate(episodes):
        base = demonstration(index, steps=len(one.actions))
        made.append(
            replace(
                base,
                instruction=one.instruction,
                images=one.images,
                proprioception=one.proprioception,
                actions=one.actions,
            )
        )
    write_demonstrations(path, replace(header(), proprioception_fields=FIELDS), made)
    return path


def write_robomimic(folder: Path, episodes: Sequence[Content], **changes: Any) -> Path:
    """Write as robomimic 0.5's `dataset_states_to_obs.py` does; `changes` replace parts of the controller."""
    path = folder / "image.hdf5"
    arm = {"type": "OSC_POSE", "input_type": "delta", "output_max": [0.05] * 3 + [0.5] * 3, **changes}
    kwargs = {"control_freq": HZ, "controller_configs": {"type": "BASIC", "body_parts": {"right": arm}}}
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": kwargs})
        data.attrs["total"] = sum(len(one.actions) for one in episodes)
        for number, one in enumerate(episodes):
            group = data.create_group(f"demo_{number}")
            group.attrs["num_samples"] = len(one.actions)
            group.attrs["ep_meta"] = json.dumps({"lang": one.instruction})
            observed = {
                "agentview_image": one.images["agentview"],
                "robot0_eye_in_hand_image": one.images["wrist"],
                "robot0_eef_pos": one.position.astype(np.float64),
                "robot0_eef_quat": one.hand_quat_xyzw,
                "robot0_gripper_qpos": one.fingers.astype(np.float64),
                "robot0_joint_pos": one.joints.astype(np.float64),
            }
            for key, values in observed.items():
                group.create_dataset(f"obs/{key}", data=values, compression="gzip")
            _write_common(group, one, np.float64)
    return path


def write_libero(folder: Path, episodes: Sequence[Content]) -> Path:
    """Write as LIBERO's `create_dataset.py` does: images from the bottom row up."""
    path = folder / "reach_demo.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"type": 1, "env_kwargs": {"control_freq": HZ}})
        data.attrs["problem_info"] = json.dumps({"language_instruction": [episodes[0].instruction]})
        data.attrs["bddl_file_name"] = "libero/libero/bddl_files/libero_goal/reach.bddl"
        data.attrs["macros_image_convention"] = "opengl"
        data.attrs["num_demos"] = len(episodes)
        for number, one in enumerate(episodes):
            group = data.create_group(f"demo_{number}")
            observed = {
                "agentview_rgb": one.images["agentview"][:, ::-1],
                "eye_in_hand_rgb": one.images["wrist"][:, ::-1],
                "ee_pos": one.position,
                "ee_ori": one.hand_axis_angle,
                "ee_states": np.concatenate([one.position, one.hand_axis_angle], axis=1),
                "gripper_states": one.fingers,
                "joint_states": one.joints,
            }
            for key, values in observed.items():
                group.create_dataset(f"obs/{key}", data=values)
            _write_common(group, one, np.uint8)
    return path


def write_lerobot(folder: Path, episodes: Sequence[Content], *, video: bool = False) -> Path:
    """Write a v3.0 folder whose gripper is 0 open and 1 closed, all episodes in one table and one video a camera."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    root = folder / "lerobot"
    for part in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / part).mkdir(parents=True)
    names = [f"{field.name}.{number}" for field in FIELDS for number in range(field.size)]
    keys = [f"observation.images.{camera}" for camera in CAMERAS]
    images = {
        "dtype": "video" if video else "image",
        "shape": [SIDE, SIDE, 3],
        "names": ["height", "width", "channels"],
    }
    info = {
        "codebase_version": "v3.0",
        "fps": HZ,
        "features": {
            "observation.state": {"dtype": "float32", "shape": [15], "names": names},
            "action": {"dtype": "float32", "shape": [7], "names": ["x", "y", "z", "ax", "ay", "az", "gripper"]},
            **dict.fromkeys(keys, images),
        },
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    (root / "meta" / "info.json").write_text(json.dumps(info))
    tasks = list(dict.fromkeys(one.instruction for one in episodes))
    rows: dict[str, list[Any]] = {"observation.state": [], "action": [], "episode_index": [], "task_index": []}
    about, start = [], 0
    for number, one in enumerate(episodes):
        steps = len(one.actions)
        stored = one.actions.copy()
        stored[:, 6] = (stored[:, 6] + 1) / 2
        rows["observation.state"] += one.proprioception.tolist()
        rows["action"] += stored.tolist()
        rows["episode_index"] += [number] * steps
        rows["task_index"] += [tasks.index(one.instruction)] * steps
        entry = {"episode_index": number, "tasks": [one.instruction], "length": steps}
        entry |= {"data/chunk_index": 0, "data/file_index": 0}
        for key in keys if video else ():
            entry |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": 0}
            entry |= {f"videos/{key}/from_timestamp": start / HZ, f"videos/{key}/to_timestamp": (start + steps) / HZ}
        about.append(entry)
        start += steps
    for key, camera in zip(keys, CAMERAS, strict=True):
        images = np.concatenate([one.images[camera] for one in episodes])
        if video:
            _encode(root / f"videos/{key}/chunk-000/file-000.mp4", images)
        else:
            rows[key] = [{"bytes": _png(image), "path": None} for image in images]
    parquet.write_table(arrow.Table.from_pylist(about), root / "meta/episodes/chunk-000/file-000.parquet")
    parquet.write_table(arrow.Table.from_pydict(rows), root / "data/chunk-000/file-000.parquet")
    return root


WRITERS: dict[str, Callable[[Path, Sequence[Content]], Path]] = {
    "ours": write_ours,
    "robomimic": write_robomimic,
    "libero": write_libero,
    "lerobot": write_lerobot,
}
OPTIONS = {"lerobot": SourceOptions(gripper="close_one")}


def _grip_site_axis_angle(hand_quat_xyzw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what our environments observe: the site's matrix by way of MuJoCo's and our own functions."""
    site = Rotation.from_quat(hand_quat_xyzw) * Rotation.from_euler("z", -90, degrees=True)
    quat_wxyz = np.zeros(4)
    mujoco.mju_mat2Quat(quat_wxyz, site.as_matrix().ravel())
    return quat_wxyz_to_axis_angle(quat_wxyz)


def _images(steps: int, index: int, shade: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    time = np.arange(steps)[:, None, None] * (120 / steps) + 7 * index
    red = shade + 60 * rows + time
    green = shade + 90 * columns + 0 * time
    blue = 200 - 60 * rows - 40 * columns - time / 2
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 255).astype(np.uint8)


def _write_common(group: Any, one: Content, rewards: Any) -> None:
    last = np.arange(len(one.actions)) == len(one.actions) - 1
    group.create_dataset("actions", data=one.actions.astype(np.float64))
    group.create_dataset("rewards", data=last.astype(rewards))
    group.create_dataset("dones", data=last.astype(np.int64))
    group.create_dataset("states", data=np.zeros((len(one.actions), 9)))


def _encode(path: Path, images: NDArray[np.uint8]) -> None:
    """Encode like LeRobot except for the codec (H.264 here): every second frame is a key frame, yuv420p."""
    import av

    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=HZ, options={"g": "2", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        stream.time_base = Fraction(1, HZ)
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()
