"""What all builders of files have in common: source, options, faults, all cores or Beam.

A builder says what is in its source (`plan`) and how one example becomes a record (a pure function);
the rest is here.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import tensorflow_datasets as tfds
from tqdm import tqdm

from data_builders.built_from import content_digest, file_digest
from data_builders.faults import (
    Attempt,
    BadFile,
    OnError,
    Skipped,
    check_classes,
    unique_in_splits,
)
from data_builders.ordered_map import ordered_map
from data_builders.records_format import Domain, Record, keyed_record, record_features
from data_builders.sources import SourceFile
from dsf_jax.data.downloads import Download, fetch, is_address
from dsf_jax.data.pictures import SUFFIXES

REBUILD = "give --overwrite to build it again, or choose another data_dir"
EARLIER = (
    "an earlier version built it, which did not record the content of the source: whether that changed "
    "is not known; --overwrite builds it again"
)
ExampleT = TypeVar("ExampleT")


class DomainAbsent(FileNotFoundError):
    """The source holds nothing of this configuration, though it may of another: not an error yet."""


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """A builder without options of its own."""


@dataclasses.dataclass(frozen=True)
class FileExample:
    """One example that is one file.

    Attributes:
      key: unique in the data set; becomes the record's `source_id`.
      class_name: its class.
      file: the file with its content.
    """

    key: str
    class_name: str
    file: SourceFile

    @property
    def where(self) -> str:
        """The file, for messages."""
        return self.file.where


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a builder is going to build.

    Attributes:
      class_names: names of the k classes in label order.
      splits: {split: its examples}; an example has `key`, `where`, `class_name`, and is picklable.
      make: example -> the record's own fields, at least `image`: a top-level function, or a
        functools.partial of one. The fields label, class_name, domain and source_id are added.
    """

    class_names: Sequence[str]
    splits: Mapping[str, Sequence[Any]]
    make: Callable[[Any], Record]


class RecordsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder of records; the concrete ones are named `Builder`, each in a folder of its own."""

    OPTIONS: ClassVar[type] = NoOptions  # a frozen dataclass; launch.build_data makes flags of it
    DOWNLOADS: ClassVar[Mapping[str, Download]] = {}  # {configuration: the public file}
    # Ends of the names of a source's files, and the options that name files: what is built depends on
    # the content of both.
    SUFFIXES: ClassVar[tuple[str, ...]] = SUFFIXES
    FILE_OPTIONS: ClassVar[tuple[str, ...]] = ()
    HOMEPAGE: ClassVar[str] = ""
    LICENSE: ClassVar[str] = ""
    MANUAL_DOWNLOAD_INSTRUCTIONS = "See the README.md next to the builder."

    def __init__(
        self,
        *,
        source: str | Path | None = None,
        options: Any = None,
        on_error: OnError = "raise",
        processes: int | None = None,
        beam: bool = False,
        file_format: str = "array_record",
        **tfds_options: Any,
    ) -> None:
        """Sets the builder up; `download_and_prepare()` then does the work.

        Args:
          source: a path or URL of the data; by default TFDS's folder for what was downloaded by
            hand (`--manual_dir`) if it is there, else the public address if there is one.
          options: instance of the builder's `OPTIONS`; its defaults if None.
          on_error: what a broken file does: "raise" stops, "skip" counts it in the summary.
          processes: number of worker processes; by default one per core.
          beam: run the per-example work as an Apache Beam pipeline instead.
          file_format: TFDS's other formats need TensorFlow, or have no random access.
          **tfds_options: TFDS's own: `config`, `data_dir`, `version`.
        """
        self.source, self.on_error, self.processes, self.beam = source, on_error, processes, beam
        self.options = self.OPTIONS() if options is None else options
        self.skipped = Skipped()
        self.notes: list[str] = []  # what else there is to say of the build, a line each
        self.unusable: dict[str, BadFile] = {}  # by where; what plans are made without
        self.digests: dict[Path, str] = {}  # of sources; builders of one source may share them
        super().__init__(file_format=file_format, **tfds_options)
        # Folder of prepared records; data_dir_root may be where a new one waits to replace the old.
        self.home = Path(self.data_dir_root)
        # What TFDS pickles a builder as: the arguments to create it with again.
        self._original_state.update(
            source=source,
            options=options,
            on_error=on_error,
            processes=processes,
            beam=beam,
            file_format=file_format,
        )

    @property
    def domain(self) -> Domain:
        """The domain of the records; by default the configuration's name."""
        return self.builder_config.name

    def plan(self, source: Path) -> Plan:
        """Lists what is in the source; reads no more of it than that takes.

        Args:
          source: a folder or file; `source_files` says so if it does not exist.

        Raises:
          DomainAbsent: when the source has nothing of this configuration.
        """
        raise NotImplementedError

    def usable(self, classes: Mapping[str, Sequence[ExampleT]]) -> dict[str, list[ExampleT]]:
        """Returns the examples of each class without those that are known not to be usable; for a `plan`
        that cuts at random. What is left is cut as if the others had never been there.
        """
        kept = {
            name: [one for one in examples if one.where not in self.unusable]  # type: ignore[attr-defined]
            for name, examples in classes.items()
        }
        return {name: examples for name, examples in kept.items() if examples}

    def trial(self, plan: Plan) -> Callable[[Any], Record]:
        """Returns a function that raises where an example cannot be used: by default `plan.make`."""
        return plan.make

    def source_digest(self, source: Path) -> str:
        """Digests what of a source is read."""
        return content_digest([source], self.SUFFIXES)

    def features(self) -> dict[str, Any]:
        """Describes the fields that the builder's records have besides those of the domain."""
        return {}

    def find_source(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """Returns the path of the data, downloaded if it has to be.

        Raises:
          FileNotFoundError: when nobody said where the data is.
        """
        downloads = Path(dl_manager.download_dir)
        if self.source is not None and is_address(self.source):
            return fetch(self._known_download(str(self.source)), downloads)
        if self.source is not None:
            return Path(self.source).expanduser().absolute()
        try:
            return Path(dl_manager.manual_dir)
        except AssertionError:  # TFDS's error for a folder that does not exist
            pass
        if public := self.DOWNLOADS.get(self.builder_config.name):
            return fetch(self._known_download(public.url), downloads)
        raise FileNotFoundError(
            f"{self.name} has no public address to download it from; give --source=PATH_OR_URL "
            f"(data_builders/{self.name}/README.md lists what it accepts)"
        )

    def _known_download(self, url: str) -> Download:
        """Adds what `DOWNLOADS` and the builder's checksums.tsv know of an address."""
        known = [public for public in self.DOWNLOADS.values() if public.url == url]
        sha256 = getattr((self.url_infos or {}).get(url), "checksum", "")
        return dataclasses.replace(known[0] if known else Download(url), sha256=sha256)

    def skip(self, fault: BadFile) -> None:
        """Omits a file: raises, or counts it, as `on_error` says."""
        if self.on_error == "raise":
            raise fault
        self.skipped.add(fault)

    def download_and_prepare(self, **options: Any) -> None:
        """Builds the data set, unless it is there: TFDS's own, with its `**options`.

        Raises:
          ValueError: when it is there, but built with other options or of another source.
        """
        self.check_unchanged()
        if self.beam:
            from data_builders.pipeline import with_options

            options["download_config"] = with_options(options.get("download_config"))
        try:
            super().download_and_prepare(**options)
        finally:
            tfds.enable_progress_bar()

    def check_unchanged(self) -> None:
        """Compares what is there, if anything is, with what would be built.

        Raises:
          ValueError: when options, a file that one names, or the source's content differ.
        """
        if not self.is_prepared():
            return
        built = self.info.metadata or {}
        built_with = built.get("options") or {}
        for name, value in dataclasses.asdict(self.options).items():
            if built_with.get(name, value) != value:
                raise ValueError(
                    f"{self.data_dir} was built with {name}={built_with[name]!r}, not {value!r}; {REBUILD}"
                )
        if "source" not in built:
            self.notes.append(EARLIER)
            return
        for name, digest in self._option_digests().items():
            if built["files"].get(name, digest) != digest:
                raise ValueError(
                    f"{self.data_dir} was built with another content of {name}="
                    f"{getattr(self.options, name)} (digest {built['files'][name]}, now {digest}); {REBUILD}"
                )
        self._check_source(built["source"])

    def _check_source(self, built: Mapping[str, str]) -> None:
        if self.source is not None and str(self.source) == built["address"]:
            return  # it is not downloaded again to look
        source = Path(built["path"]) if self.source is None else self.find_source(self._manager())
        if self.source is None and not source.exists():
            return  # nothing is named to compare with
        digest = self._digest(source)
        if digest != built["digest"]:
            raise ValueError(
                f"{self.data_dir} was built from {built['path']} with the digest {built['digest']}, but "
                f"{source} has {digest}: its files changed; {REBUILD}"
            )

    def _manager(self) -> tfds.download.DownloadManager:
        """Returns TFDS's manager of downloads for the folder of prepared records."""
        downloads = str(self.home / "downloads")
        return self._make_download_manager(
            download_dir=downloads, download_config=tfds.download.DownloadConfig()
        )

    def _digest(self, source: Path) -> str:
        if source not in self.digests:
            self.digests[source] = self.source_digest(source)
        return self.digests[source]

    def _option_digests(self) -> dict[str, str]:
        """Digests the files that options name."""
        named = {name: getattr(self.options, name) for name in self.FILE_OPTIONS}
        return {name: file_digest(Path(path))[:12] for name, path in named.items() if path}

    def _info(self) -> tfds.core.DatasetInfo:
        """Describes the records; class names are known only with the source."""
        fields = record_features(self.domain)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({**fields, **self.features()}),
            homepage=self.HOMEPAGE or None,
            license=self.LICENSE or None,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Plans the build; TFDS then runs what this returns, one generator or pipeline per split."""
        source = self.find_source(dl_manager)
        tfds.disable_progress_bar()  # ours knows the total
        address = str(self.source) if is_address(self.source or "") else ""
        built_from = {"path": str(source), "address": address, "digest": self._digest(source)}
        plan, splits = self._usable_plan(source)
        check_classes(plan.class_names, str(source))
        self.info.features["label"].names = list(plan.class_names)
        if not any(splits.values()):
            raise ValueError(f"{source}: nothing to build; {self.skipped or 'it holds no example'}")
        self.info.metadata["source"], self.info.metadata["files"] = (
            built_from,
            self._option_digests(),
        )
        self.info.metadata["options"] = dataclasses.asdict(self.options)
        self.info.metadata["skipped"] = self.skipped.counts
        attempt = Attempt(plan.make, self.on_error)
        return {
            split: self._generate_examples(split, examples, attempt)
            for split, examples in splits.items()
            if examples  # TFDS cannot write an empty split
        }

    def _usable_plan(self, source: Path) -> tuple[Plan, dict[str, list[Any]]]:
        """Plans the build. Where no example of a split can be used, it is planned again without these; a
        split that is still empty then is left out, as TFDS cannot write one.
        """
        while True:
            self.skipped = Skipped()
            plan = self.plan(source)
            splits = unique_in_splits(plan.splits, self.on_error, self.skipped)
            found = self._unusable(plan, splits)
            if found.keys() <= self.unusable.keys():
                break
            self.unusable |= found
        for fault in self.unusable.values():
            self.skipped.add(fault)
        for split, examples in splits.items():
            if examples and all(example.where in self.unusable for example in examples):
                self.notes.append(
                    f"no split {split}: none of its {len(examples)} files can be used"
                )
                examples.clear()
        return plan, splits

    def _unusable(self, plan: Plan, splits: Mapping[str, Sequence[Any]]) -> dict[str, BadFile]:
        """Finds the splits of which nothing can be used, and what is wrong with each of their examples."""
        found: dict[str, BadFile] = {}
        if self.on_error == "raise":
            return found
        attempt = Attempt(self.trial(plan), self.on_error)
        for examples in splits.values():
            faults: dict[str, BadFile] = {}
            for example in examples:
                fault = attempt(example).fault
                if fault is None:
                    break
                faults[example.where] = fault
            else:
                found |= faults
        return found

    def _generate_examples(self, split: str, examples: Sequence[Any], attempt: Attempt[Any]) -> Any:
        """Makes the records of a split, on all cores or as a Beam pipeline."""
        if self.beam:
            from data_builders.pipeline import record_pipeline

            return record_pipeline(examples, attempt, self.domain)
        return self._records(split, examples, attempt)

    def _records(
        self, split: str, examples: Sequence[Any], attempt: Attempt[Any]
    ) -> Iterator[tuple[str, Record]]:
        outcomes = ordered_map(attempt, examples, processes=self.processes)
        made = 0
        for outcome in tqdm(outcomes, f"{self.name} {split}", len(examples), disable=None):
            if outcome.fault is not None:
                self.skipped.add(outcome.fault)
                continue
            made += 1
            yield keyed_record(outcome, self.domain)
        self.info.metadata["skipped"] = self.skipped.counts
        if not made:
            raise ValueError(f"{self.name}: split {split} has nothing left: {self.skipped}")

    def _process_pipeline_result(self, pipeline_result: Any) -> None:
        """Reads the counts of skipped files from a Beam pipeline that has run."""
        from data_builders.pipeline import skipped_files

        for fault in skipped_files(pipeline_result):
            self.skipped.add(fault)
        self.info.metadata["skipped"] = self.skipped.counts
