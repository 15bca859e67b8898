"""The actions are scaled with the statistics of another data set."""

from collections.abc import Iterator

from vla_bench.evaluation.doctor.mistakes.proposal import Patient, Proposal, mistakes

_FIELD = "unnorm_key"


@mistakes.named("unnormalisation key")
def unnormalisation_key(patient: Patient) -> Iterator[Proposal]:
    """Propose the other entries of the checkpoint's statistics."""
    if patient.card is not None and patient.states(_FIELD):
        keys = patient.card.unnormalisation_keys(patient.folder)
        yield from (Proposal.of_card(_FIELD, key) for key in keys if key != patient.value(_FIELD) and len(keys) > 1)
