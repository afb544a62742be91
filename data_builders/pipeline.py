"""The per-example work of a builder as an Apache Beam pipeline, for more files than one machine takes.

The only importer of Beam, which is an optional extra. TFDS writes what the pipeline yields.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from data_builders.faults import Attempt, BadFile
from data_builders.records_format import Domain, Record, keyed_record

try:
    import apache_beam as beam
except ImportError as error:
    raise ImportError(
        "apache-beam, which runs pipelines, is not installed; install this project's extra `beam`, "
        "or build without --beam"
    ) from error

_NAMESPACE = "data_builders.skipped"


def record_pipeline(
    examples: Sequence[Any], attempt: Attempt[Any], domain: Domain
) -> "beam.PTransform":
    """Returns a pipeline that yields the same (key, record) pairs as the work on all cores does.

    Args:
      examples: small and picklable; workers must find the files at the same absolute path.
      attempt: the per-example function under its policy.
      domain: domain of the records.
    """
    return beam.Create(examples, reshuffle=True) | "records" >> beam.FlatMap(
        _MakeRecord(attempt, domain)
    )


def with_options(config: tfds.download.DownloadConfig | None) -> tfds.download.DownloadConfig:
    """Returns TFDS's configuration with Beam's options in it: empty ones unless there are some.

    Without any, Beam would take this program's command line for its own.
    """
    config = config or tfds.download.DownloadConfig()
    if config.beam_runner is None and config.beam_options is None:
        config = config.replace(beam_options=beam.options.pipeline_options.PipelineOptions([]))
    return config


def skipped_files(result: Any) -> Iterator[BadFile]:
    """Yields what a pipeline that has run skipped."""
    query = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(_NAMESPACE))
    for metric in query["string_sets"]:
        for where in sorted(metric.result):
            yield BadFile(where, metric.key.metric.name)


@dataclasses.dataclass(frozen=True)
class _MakeRecord:
    """Example -> no or one (key, record); faults are counted in the pipeline's metrics."""

    attempt: Attempt[Any]
    domain: Domain

    def __call__(self, example: Any) -> list[tuple[str, Record]]:
        outcome = self.attempt(example)
        if outcome.fault is None:
            return [keyed_record(outcome, self.domain)]
        fault = outcome.fault
        beam.metrics.Metrics.string_set(_NAMESPACE, fault.reason).add(fault.where)
        return []
