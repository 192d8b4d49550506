"""A study on a cluster: an array of jobs, each with one worker, through submitit (the extra `slurm`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from jepa_core.ablation.cells import Study
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.running import selected
from jepa_core.errors import JepaError, MissingDependency, UsageError

if TYPE_CHECKING:
    from submitit import Job as SubmittedJob
    from submitit.helpers import DelayedSubmission

DEFAULTS: Mapping[str, Any] = {"timeout_min": 24 * 60, "nodes": 1, "tasks_per_node": 1, "cpus_per_task": 8}
"""Of every job, where the user says nothing else."""

MOST_TIMEOUTS = 100
"""How often a job whose time ended is queued again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What one job of the array does: it works until no cell is left, and is queued again where its time ends first."""

    path: str
    """Of the study's folder, absolute."""
    only: str | None
    """Pattern of cells' names."""
    threads: int
    """Of the processor."""

    def __call__(self) -> None:
        """Run cells, one at a time."""
        from jepa_core.ablation.launching import supervise

        folder = StudyFolder(self.path)
        supervise(folder.read(), folder, jobs=1, only=self.only, threads=self.threads)

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit before the job's time ends, or it makes room for another: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(
    study: Study,
    folder: StudyFolder,
    *,
    jobs: int,
    resume: bool,
    only: str | None,
    options: Mapping[str, Any],
    cluster: str = "slurm",
) -> Sequence[SubmittedJob[None]]:
    """Queue `jobs` jobs, and return at once.

    Args:
        study: with its cells.
        folder: where it is kept, on a file system that all nodes see and that knows locks (flock).
        jobs: how many work at the same time.
        resume: whether the folder may hold the study already.
        only: a pattern of cells' names.
        options: of `submitit.AutoExecutor.update_parameters`, over `DEFAULTS`; `slurm_partition` and its like go to
            SLURM alone.
        cluster: what submitit submits to; `local` and `debug` are this machine.

    Raises:
        MissingDependency: there is no submitit.
        UsageError: no such cluster here, or an option that submitit does not know; otherwise as `run_study`.
        JepaError: the cluster refused.
    """
    if find_spec("submitit") is None:
        raise MissingDependency("--launcher slurm needs submitit: pip install 'jepa-core[slurm]'")
    import submitit

    wanted, number = {**DEFAULTS, **options}, min(jobs, len(selected(study, only)))
    logs = folder.path / "slurm"
    try:
        executor = submitit.AutoExecutor(logs, cluster=cluster, slurm_max_num_timeout=MOST_TIMEOUTS)
        executor.update_parameters(name=f"jepa-{study.name}", **wanted)
    except (NameError, ValueError, TypeError, AssertionError, RuntimeError) as error:  # an option, or no cluster here
        raise UsageError(f"--launcher slurm: submitit refused: {error}") from error
    record = folder.open(study, resume=resume, threads=study.config.threads or int(wanted["cpus_per_task"]))
    assert record.threads is not None
    folder.forget_failures(study)
    job = Job(str(folder.path.resolve()), only, record.threads)
    try:
        with executor.batch():
            queued = [executor.submit(job) for _ in range(number)]
    except (RuntimeError, OSError) as error:  # FailedSubmissionError is the first
        raise JepaError(f"--launcher slurm: the cluster refused the jobs: {error}") from error
    logger.info("queued: %s; logs: %s", ", ".join(each.job_id for each in queued), logs)
    logger.info("--status says how far they are; when they are through, --resume without --launcher writes the report")
    return queued
