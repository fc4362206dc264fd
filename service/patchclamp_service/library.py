"""What the server keeps and works on beside its models: one bundle, for the servicers to take from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchclamp.v1 import analysis_pb2

from patchclamp_service.activations.activation_sets import ActivationSets
from patchclamp_service.analyses.analyses import Analyses
from patchclamp_service.analyses.probe_jobs import COLLECTION as PROBES
from patchclamp_service.analyses.rankings import Rankings
from patchclamp_service.corpora.corpora import Corpora
from patchclamp_service.jobs.jobs import Jobs
from patchclamp_service.jobs.workers import Workers
from patchclamp_service.settings import Settings
from patchclamp_service.store.database import Database
from patchclamp_service.store.resources import Resources
from patchclamp_service.store.result_files import ResultFiles
from patchclamp_service.store.staging import sweep

__all__ = ["Library"]


@dataclass(frozen=True, slots=True)
class Library:
    """A data directory, the database that says what is in it, and who works on it."""

    scratch: Path
    """For what lies on the disk while it is worked on; what is left there after a crash is swept away."""
    database: Database
    resources: Resources
    corpora: Corpora
    activation_sets: ActivationSets
    rankings: Rankings
    probes: ResultFiles[analysis_pb2.Probe]
    analyses: Analyses
    jobs: Jobs
    workers: Workers
    queries: Workers
    """For what somebody waits for, one after another: long operations must not stand in its way."""

    @classmethod
    def open(cls, settings: Settings) -> Library:
        """The library that the settings name. Raises BadSetting or OSError, as Database.open does."""
        database = Database.open(settings.data_dir, settings.database)
        scratch = settings.data_dir / "scratch"
        scratch.mkdir(exist_ok=True)
        jobs = Jobs(database, running=settings.jobs_running, kept_days=settings.operations_kept_days)
        workers = Workers(settings.workers, settings.worker_memory_bytes, scratch)
        queries = Workers(1, settings.worker_memory_bytes, scratch)
        resources = Resources(database)
        corpora = Corpora(resources, settings.data_dir / "corpora")
        activation_sets = ActivationSets(resources, settings.data_dir / "activation-sets")
        rankings = Rankings(resources, settings.data_dir / "rankings")
        probes = ResultFiles(resources, settings.data_dir / "probes", PROBES, ".safetensors", analysis_pb2.Probe)
        analyses = Analyses(resources, settings.data_dir / "analyses", queries)
        return cls(
            scratch,
            database,
            resources,
            corpora,
            activation_sets,
            rankings,
            probes,
            analyses,
            jobs,
            workers,
            queries,
        )

    async def sweep(self) -> None:
        """Removes what servers that were killed have left half-made."""
        await self.corpora.sweep()
        for files in (self.activation_sets, self.rankings.files, self.probes, self.analyses.files):
            await files.sweep()
        await sweep(self.scratch, _of_others)

    def close(self) -> None:
        """Lets go of the database and the data directory, after `jobs.close()`."""
        self.database.close()


async def _of_others(name: str) -> bool:
    """Whether `staging` has not made it: then it may belong to a server that shares the directory, and runs."""
    return not name.startswith(".")
