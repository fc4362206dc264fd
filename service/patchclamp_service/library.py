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

__all__ = ["Library"]


@dataclass(frozen=True, slots=True)
class Library:
    """A data directory, the database that says what is in it, and who works on it."""

    folder: Path
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
    """For what somebody waits for: long operations must not stand in its way."""

    @classmethod
    def open(cls, settings: Settings) -> Library:
        """The library that the settings name. Raises BadSetting or OSError, as Database.open does."""
        database = Database.open(settings.data_dir, settings.database)
        jobs = Jobs(database, running=settings.jobs_running, kept_days=settings.operations_kept_days)
        workers = Workers(settings.workers, settings.worker_memory_bytes)
        queries = Workers(1, settings.worker_memory_bytes)
        resources = Resources(database)
        corpora = Corpora(resources, settings.data_dir / "corpora")
        activation_sets = ActivationSets(resources, settings.data_dir / "activation-sets")
        rankings = Rankings(resources, settings.data_dir / "rankings")
        probes = ResultFiles(resources, settings.data_dir / "probes", PROBES, ".safetensors", analysis_pb2.Probe)
        analyses = Analyses(resources, settings.data_dir / "analyses", queries)
        return cls(
            settings.data_dir,
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

    def close(self) -> None:
        """Lets go of the database and the data directory, after `jobs.close()`."""
        self.database.close()
