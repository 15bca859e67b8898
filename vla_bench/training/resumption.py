"""What a run that was stopped goes on from: state, trained weights, optimiser and random numbers, in one file."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError

import torch

from vla_bench.core.errors import CheckpointError
from vla_bench.core.paths import written_whole
from vla_bench.training.processes import Processes
from vla_bench.training.state import TrainingState


def save_state(
    path: Path,
    state: TrainingState,
    weights: Mapping[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    processes: Processes,
    device: torch.device,
) -> None:
    """Write what a resumed run needs; every process adds its random numbers."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    random = processes.gathered((torch.get_rng_state(), cuda))
    if not processes.is_main:
        return
    content = {
        "state": asdict(state),
        "weights": {name: value.detach().cpu() for name, value in weights.items()},
        "optimiser": optimiser.state_dict(),
        "random": random,
    }
    with written_whole(path) as temporary:
        torch.save(content, temporary)


def restore_state(
    path: Path,
    weights: Mapping[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    processes: Processes,
    device: torch.device,
) -> TrainingState:
    """Return the state in `path`, with weights, optimiser and random numbers as they were.

    Raises `CheckpointError` for a file that is damaged, of another network or of another number of processes.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for name, value in weights.items():
                value.copy_(content["weights"][name])
        optimiser.load_state_dict(content["optimiser"])
        state = TrainingState(**content["state"])
        random = content["random"]
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, OSError, UnpicklingError) as error:
        raise CheckpointError(path, f"cannot be resumed ({error}); delete it to start anew") from error
    if len(random) != processes.count:
        problem = f"it was trained by {len(random)} processes, and is resumed by {processes.count}"
        raise CheckpointError(path, f"{problem}; start as many, or delete it to start anew")
    host, cuda = random[processes.rank]
    torch.set_rng_state(host)
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)
    return state
