"""Data sets and analyses of studies with one mistake each, which the check that is named after it has to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pytest
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor

from invreg.components.analyzer import Findings
from invreg.components.dataset import ImageDataset, ImageStack, Splits
from invreg.components.study_analyzer import CompletedStudy, StudyAnalyzer
from invreg.components.training_images import TrainingImages
from invreg.testing import CheckFailure, check_dataset, check_study_analyzer


def images(seed: int, count: int, *shape: int) -> Tensor:
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(seed))


def splits(train: Tensor, val: Tensor, test: Tensor) -> Splits:
    names = [f"image-{i}" for i in range(len(train))]
    stacks = [ImageStack(own, [f"{kind}-{i}" for i in range(len(own))]) for kind, own in (("val", val), ("test", test))]
    return Splits(TrainingImages(list(train), names, (8, 8)), *stacks)


class Noise(ImageDataset):
    """Random images, the same ones each time."""

    def splits(self) -> Splits:
        return splits(images(0, 3, 1, 12, 10), images(1, 2, 1, 12, 10), images(2, 2, 1, 12, 10))


class NewEachTime(ImageDataset):
    """Other images each time."""

    def splits(self) -> Splits:
        draws = torch.Generator()
        draws.seed()
        one = torch.rand((3, 1, 12, 10), generator=draws)
        return splits(one, images(1, 2, 1, 12, 10), images(2, 2, 1, 12, 10))


class ReusesTestImages(ImageDataset):
    """Test images that are training images as well."""

    def splits(self) -> Splits:
        test = images(2, 2, 1, 12, 10)
        return splits(torch.cat([images(0, 2, 1, 12, 10), test]), images(1, 2, 1, 12, 10), test)


class ValidatesOnTrainingImages(ImageDataset):
    """Validation images that are training images as well."""

    def splits(self) -> Splits:
        train = images(0, 3, 1, 12, 10)
        return splits(train, train[1:], images(2, 2, 1, 12, 10))


class GlobalSeed(ImageDataset):
    """Images from torch's global generator, which it seeds."""

    def splits(self) -> Splits:
        torch.manual_seed(0)
        return splits(torch.rand(3, 1, 12, 10), torch.rand(2, 1, 12, 10), torch.rand(2, 1, 12, 10))


class OtherSizes(ImageDataset):
    """Test images of another size than validation images."""

    def splits(self) -> Splits:
        return splits(images(0, 3, 1, 12, 10), images(1, 2, 1, 12, 10), images(2, 2, 1, 9, 9))


def test_a_correct_data_set_passes() -> None:
    check_dataset(Noise)


@pytest.mark.parametrize(
    ("dataset", "check"),
    [
        (NewEachTime, "determinism"),
        (ReusesTestImages, "disjoint_splits"),
        (ValidatesOnTrainingImages, "disjoint_splits"),
        (GlobalSeed, "no_global_state"),
        (OtherSizes, "range_shape"),
    ],
)
def test_a_mistake_is_found_by_its_check(dataset: type[ImageDataset], check: str) -> None:
    with pytest.raises(CheckFailure) as caught:
        check_dataset(dataset)
    assert check in caught.value.checks


class Count(StudyAnalyzer):
    """How many cells there are."""

    def __init__(self, scale: Annotated[float, Field(description="by which the number is multiplied")] = 1.0) -> None:
        self.scale = scale

    def analyze(self, study: CompletedStudy) -> Findings:
        return Findings({"cells": self.scale * len(study.cells)})

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {}


class CountsUp(Count):
    """A number that grows with each analysis."""

    calls = 0

    def analyze(self, study: CompletedStudy) -> Findings:
        type(self).calls += 1
        return Findings({"cells": float(self.calls)})


class KeepsFigures(Count):
    """Figures that cannot be drawn from what was saved."""

    def analyze(self, study: CompletedStudy) -> Findings:
        self.figures: dict[str, Figure] = {"a": Figure()}
        return super().analyze(study)

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return self.figures


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Empty:
        cells = ()

    return Empty()


def test_a_correct_study_analysis_passes(study: Any) -> None:
    check_study_analyzer(Count)
    check_study_analyzer(Count(scale=2.0), study)


@pytest.mark.parametrize(("analyzer", "check"), [(CountsUp, "determinism"), (KeepsFigures, "draw_from_files")])
def test_a_mistake_of_a_study_analysis_is_found(analyzer: Callable[[], StudyAnalyzer], check: str, study: Any) -> None:
    with pytest.raises(CheckFailure) as caught:
        check_study_analyzer(analyzer(), study)
    assert check in caught.value.checks
