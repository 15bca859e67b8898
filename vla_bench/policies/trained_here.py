"""What a card takes over from a network that was trained here: what it was shown, whatever the card's own words."""

from pathlib import Path

from vla_bench.models.networks.record import NetworkRecord, read_record

OUR_CONVENTIONS: dict[str, object] = {  # how training shows demonstrations, whatever their format
    "image_orientation": "upright",
    "image_crop_area": 1.0,
    "axis_angle": "robosuite",
    "gripper": "close_positive",
    "unnorm_key": None,  # there is one entry
}


def recorded(checkpoint: Path) -> tuple[NetworkRecord, dict[str, object]] | None:
    """Return the record in `checkpoint` and the fields of a card that follow from it; None for a network of others.

    A published card states the conventions of published weights. Kept for weights that were trained here since, they
    would be wrong without a word.
    """
    record = read_record(checkpoint)
    if record is None or record.conventions is None:
        return None
    shown = record.conventions
    own = {"cameras": shown.cameras, "image_size": shown.image_size, "proprioception": shown.proprioception}
    return record, {**own, "robot": shown.robot, **OUR_CONVENTIONS}
