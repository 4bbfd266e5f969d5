"""What a finished study says about itself in `study.json`; from it, it is loaded and its report written anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from invreg.components.study_analyzer import StudyAnalyzer
from invreg.errors import StoreError
from invreg.plugins.registry import Registry
from invreg.schema.component_spec import ComponentSpec
from invreg.storage.run_folder import RunFolder
from invreg.storage.study_cell import StudyCell
from invreg.text import unique_names

_FILE = "study.json"


class CellRecord(BaseModel):
    """A cell: the name of its folder, the varied values, and why it failed (None if it did not)."""

    model_config = ConfigDict(extra="forbid")

    folder: str
    values: dict[str, Any]
    failure: str | None


class StudyRecord(BaseModel):
    """A study after all its cells have been run, its analyses have been made and its report has been written.

    Attributes:
        title: the study's title.
        axes: varied path to its values, as the tables show them.
        cells: all cells, in order.
        analyses: the resolved specs of the study analyses, in the order of the spec.
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    axes: dict[str, list[Any]]
    cells: list[CellRecord]
    analyses: list[ComponentSpec]

    @property
    def analysis_keys(self) -> list[str]:
        """The names under which the findings lie, one for each analysis."""
        return unique_names([spec.name for spec in self.analyses])

    def write(self, folder: RunFolder) -> None:
        """Writes the record; as the last file of a study it says that the study is finished."""
        folder.write_json(_FILE, self.model_dump(mode="json"))

    def cells_in(self, folder: RunFolder, registry: Registry, device: str) -> list[StudyCell]:
        """The cells as a study result has them; their results are loaded on the device when they are asked for.

        Raises:
            StoreError: if the folder of a cell is missing.
        """
        found = []
        for cell in self.cells:
            store = RunFolder.existing(folder.path / "cells" / cell.folder)
            found.append(StudyCell(cell.values, store.spec, store.path, cell.failure, registry, device))
        return found

    def analyzers(self, registry: Registry) -> dict[str, StudyAnalyzer]:
        """The study analyses by the names under which their findings lie.

        Raises:
            SpecError: if a plugin is missing.
        """
        built = [registry.build("study_analyzer", spec, f"study_analyses.{i}") for i, spec in enumerate(self.analyses)]
        return dict(zip(self.analysis_keys, built, strict=True))


def make_record(
    title: str, axes: Mapping[str, Sequence[Any]], cells: list[StudyCell], analyses: list[ComponentSpec]
) -> StudyRecord:
    """The record of a study from its parts."""
    return StudyRecord(
        title=title,
        axes={path: list(values) for path, values in axes.items()},
        cells=[CellRecord(folder=cell.folder.name, values=cell.values, failure=cell.failure) for cell in cells],
        analyses=analyses,
    )


def read_record(folder: RunFolder) -> StudyRecord:
    """The record of a finished study.

    Raises:
        StoreError: if the study is not finished, or the record is broken.
    """
    path = folder.path / _FILE
    if not path.is_file():
        done = len(list(folder.path.glob("cells/*/report.html")))
        raise StoreError(
            f"holds a study that is not finished ({done} {'cell has' if done == 1 else 'cells have'} a report)",
            where=str(folder.path),
            expected="a study that has run to its end",
            hint="run the same spec again: what is done is kept; its finished cells are ordinary run folders",
        )
    try:
        return StudyRecord.model_validate(folder.read_json(_FILE))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise StoreError(
            f"is no record of a study: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=str(path),
            hint="delete this file and run the same spec again: what is done is kept",
        ) from None
