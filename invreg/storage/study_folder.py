"""The folder of a study: its cells, its table, its analyses, and the record by which it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from invreg.components.study_analyzer import StudyAnalyzer
from invreg.computing.device import choose_device
from invreg.errors import StoreError
from invreg.plugins.registry import Registry
from invreg.schema.component_spec import ComponentSpec
from invreg.specs.reading import REFERENCES, parse_file
from invreg.specs.yaml import dump_yaml
from invreg.storage.folder import Stage
from invreg.storage.result import StudyResult
from invreg.storage.run_folder import ANALYSES, CELLS, JOBS, SHARED, STUDY_SPEC, ResultFolder, RunFolder
from invreg.storage.run_images import LastImages
from invreg.storage.seal import SUFFIX
from invreg.storage.study_cell import StudyCell
from invreg.text import unique_names

if TYPE_CHECKING:
    import pandas as pd

_RECORD, _TABLE = "study.json", "study.csv"
_LEADERBOARD = "leaderboard"


class CellRecord(BaseModel):
    """A cell: the name of its folder, the varied values, and why it failed (None if it did not)."""

    model_config = ConfigDict(extra="forbid")

    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    values: dict[str, Any]
    failure: str | None


class StudyRecord(BaseModel):
    """A study after all its cells have been run, its analyses have been made and its report has been written.

    Attributes:
        title: the study's title.
        axes: varied path to its values, as the tables show them.
        cells: all cells, in order.
        analyses: the resolved specs of the study analyses, in the order of the spec.
        format: 2 if the study is sealed, 1 for studies of earlier versions.
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    axes: dict[str, list[Any]]
    cells: list[CellRecord]
    analyses: list[ComponentSpec]
    format: int = 1

    @classmethod
    def of(
        cls,
        title: str,
        axes: Mapping[str, Sequence[Any]],
        cells: Sequence[StudyCell],
        analyses: list[ComponentSpec],
    ) -> StudyRecord:
        """The record of a study from its parts."""
        return cls(
            title=title,
            axes={path: list(values) for path, values in axes.items()},
            cells=[CellRecord(folder=cell.folder.name, values=cell.values, failure=cell.failure) for cell in cells],
            analyses=analyses,
            format=2,
        )

    @property
    def analysis_keys(self) -> list[str]:
        """The names under which the findings lie, one for each analysis."""
        return unique_names([spec.name for spec in self.analyses])

    def analyzers(self, registry: Registry) -> dict[str, StudyAnalyzer]:
        """The study analyses by the names under which their findings lie.

        Raises:
            SpecError: if a plugin is missing.
        """
        built = [registry.build("study_analyzer", spec, f"study_analyses.{i}") for i, spec in enumerate(self.analyses)]
        return dict(zip(self.analysis_keys, built, strict=True))


class StudyFolder(ResultFolder):
    """A folder that holds a study, finished or not. Every property reads its file when it is asked for.

    ```text
    study.yaml                        the spec
    cells/<name>/                     see `RunFolder`
    shared/                           methods that several cells have in common
    jobs/                             while an executor computes: what its processes print, shared work
    study.csv  study.json             the table; the record, which says that the study is finished
    analyses/<key>/  report.html      the study analyses; the report
    leaderboard.html .csv .md         of a benchmark
    study.sha256  report.sha256       the seals; that of the study holds those of its cells and analyses
    ```
    """

    stages: ClassVar[Mapping[str, Stage]] = {
        **ResultFolder.stages,
        "study": Stage(_RECORD, "run the same spec again: what is done is kept, and this file is written anew"),
        "leaderboard": Stage(_LEADERBOARD + ".csv", "the same `invreg benchmark` again: it is written anew"),
    }
    whole: ClassVar[str] = "study"

    @property
    def seals_stages(self) -> bool:
        return self.has(_RECORD) and self.record.format > 1

    @property
    def cells_folder(self) -> Path:
        return self.path / CELLS

    @property
    def shared_folder(self) -> Path:
        return self.path / SHARED

    @property
    def jobs_folder(self) -> Path:
        """What the processes of an executor print, and the run folders of shared work, until the study is finished."""
        return self.path / JOBS

    @property
    def spec_yaml(self) -> str:
        """The spec as it was given."""
        return self.read_text(STUDY_SPEC)

    @property
    def content(self) -> dict[str, Any]:
        """The spec as it was given, as a mapping."""
        return self.read(STUDY_SPEC, lambda text: parse_file(text, self.path / STUDY_SPEC))

    @property
    def headings(self) -> dict[str, str]:
        """What the spec writes beside the headings of study analyses, by their names."""
        return {str(key): str(text) for key, text in (self.content.get("headings") or {}).items()}

    @property
    def references(self) -> Any:
        """The values from the literature that the spec gives, as it gives them; None if there are none."""
        return self.content.get(REFERENCES)

    @property
    def command(self) -> str:
        """What repeats it, where the spec says so: it is not `invreg run` for every study."""
        command = self.content.get("command", "")
        return command if isinstance(command, str) else ""

    @property
    def record(self) -> StudyRecord:
        """The record of a finished study.

        Raises:
            StoreError: if the study is not finished, or the record is broken.
        """
        if not self.has(_RECORD):
            done = sum(RunFolder(path).report.is_file() for path in self.cells_folder.glob("*"))
            raise StoreError(
                f"holds a study that is not finished ({done} {'cell has' if done == 1 else 'cells have'} a report)",
                where=str(self.path),
                expected="a study that has run to its end",
                hint="run the same spec again: what is done is kept; its finished cells are ordinary run folders",
            )
        content = self.read_json(_RECORD)
        try:
            return StudyRecord.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise StoreError(
                f"is no record of a study: {'.'.join(map(str, first['loc']))}: {first['msg']}",
                where=str(self.path / _RECORD),
                hint="delete this file and run the same spec again: what is done is kept",
            ) from None

    def cells(self, record: StudyRecord, registry: Registry, device: str = "cpu") -> list[StudyCell]:
        """The cells of a finished study; their results are loaded on the device when they are asked for.

        Raises:
            StoreError: if the folder of a cell is missing, or is a link.
        """
        last, found = LastImages(), []
        for cell in record.cells:
            if (path := self.cells_folder / cell.folder).is_symlink() or self.cells_folder.is_symlink():
                raise StoreError(
                    "is a link", where=str(path), expected="a folder of this study", hint="delete the link"
                )
            folder = RunFolder.existing(path)
            found.append(StudyCell(cell.values, folder.spec, folder.path, cell.failure, registry, device, last))
        return found

    def load(self, device: str, registry: Registry) -> StudyResult:
        """The result of a finished study.

        Raises:
            StoreError: if the study is not finished, or a file is missing.
        """
        record = self.record
        self.check_finished()
        cells = self.cells(record, registry, str(choose_device(device)))
        # An analysis that failed has left no findings, or some that it could not draw.
        done = [folder for folder in map(self.analysis, record.analysis_keys) if folder.failure is None]
        return StudyResult(
            folder=self.path,
            table=tidy_table(cells, list(record.axes)),
            cells=cells,
            findings={folder.key: folder.findings for folder in done},
        )

    def begin(self, content: Mapping[str, Any]) -> None:
        """Begins a study, or goes on with it: its seal is broken until it ends."""
        self.remove("study" + SUFFIX)
        self.drop_broken_seal("report")
        self.write_text(STUDY_SPEC, dump_yaml(content))

    def write_study_table(self, table: pd.DataFrame) -> None:
        self.write_table(_TABLE, table)

    @property
    def leaderboard(self) -> Path:
        """Where the page of a benchmark lies."""
        return self.path / f"{_LEADERBOARD}.html"

    def write_leaderboard(self, table: bytes, text: str, page: str) -> Path:
        """Saves the leaderboard of a benchmark: as CSV, in Markdown and as a page."""
        files = {".csv": table, ".md": text.encode(), ".html": page.encode()}
        self.write_stage(_LEADERBOARD, {_LEADERBOARD + suffix: content for suffix, content in files.items()})
        return self.leaderboard

    def finish(self, record: StudyRecord) -> None:
        """Writes the record, which says that the study is finished, and seals the study."""
        self.write_json(_RECORD, record.model_dump(mode="json"))
        cells = [f"{CELLS}/{cell.folder}/run" for cell in record.cells]
        analyses = [f"{ANALYSES}/{key}/findings" for key in record.analysis_keys]
        self.seal_whole([STUDY_SPEC, _TABLE, _RECORD, *(part + SUFFIX for part in [*cells, *analyses])])


def tidy_table(cells: Sequence[StudyCell], paths: list[str]) -> pd.DataFrame:
    """One row per finished cell and method: cell, the varied paths, and the columns of `summary.csv`."""
    import pandas as pd

    parts = []
    for cell in cells:
        if cell.failure is None:
            varied = {path: cell.values.get(path) for path in paths}
            columns = ["cell", *paths, *cell.summary.columns]
            parts.append(cell.summary.assign(cell=cell.folder.name, **varied)[columns])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["cell", *paths, "method"])
