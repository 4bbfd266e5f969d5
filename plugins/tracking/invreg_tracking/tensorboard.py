"""TensorBoard: event files in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg import Findings, InvregError, Result, RunFolder, Spec, hookimpl
from invreg_tracking.values import flat, is_number, numbers, step_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardTracker:
    """Writes event files to `tensorboard/` in the run folder.

    Each method is a TensorBoard run of its own, `<label>`, with a point per row of its training log; `<label>/test` has
    the means over the test images and the hyperparameters; `analyses` has spec, findings and figures. A run that is
    taken up again goes on in the same charts: points that it computes again replace the earlier ones.

    Raises:
        InvregError: if TensorBoard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InvregError(
                f"cannot be imported: {error}",
                where="tensorboard",
                expected="the package tensorboard",
                hint="pip install 'invreg[tensorboard]'",
            ) from error
        self._make = SummaryWriter
        self._writers: dict[str, SummaryWriter] = {}
        self._folder = Path()

    @hookimpl
    def invreg_run_started(self, folder: Path, spec: Spec) -> None:
        self._folder = folder
        content = spec.to_yaml()
        writer = self._writer("analyses", 0)
        writer.add_text("spec", "\n".join(f"    {line}" for line in content.splitlines()), 0)
        writer.flush()

    @hookimpl
    def invreg_epoch_finished(self, label: str, epoch: int, values: Mapping[str, Any]) -> None:
        step = step_of(epoch, values)
        writer = self._writer(label, step)
        for key, value in numbers(values).items():
            writer.add_scalar(key, value, step)
        writer.flush()

    @hookimpl
    def invreg_findings_made(self, name: str, findings: Findings) -> None:
        writer = self._writer("analyses", 0)
        for key, value in findings.scalars.items():
            if is_number(value):
                writer.add_scalar(f"{name}/{key}", float(value), 0)
        if findings.text:
            writer.add_text(name, findings.text, 0)
        for figure in RunFolder(self._folder).analysis(name).figures:
            if figure.png is not None:
                writer.add_image(f"{name}/{figure.name}", _pixels(figure.png), 0, dataformats="HWC")
        writer.flush()

    @hookimpl
    def invreg_run_finished(self, result: Result) -> None:
        from torch.utils.tensorboard.summary import hparams

        for row in result.summary.to_dict("records"):
            label = str(row["method"])
            measured = {f"test/{key}": value for key, value in numbers(row).items()}
            writer = self._writer(f"{label}/test", 0)
            for key, value in measured.items():
                writer.add_scalar(key, value, 0)
            settings = flat(result.spec.methods[label].model_dump(mode="json"))
            for summary in hparams(settings, dict.fromkeys(measured, 0.0)):
                writer._get_file_writer().add_summary(summary)
        self.close()

    def close(self) -> None:
        """Closes the files."""
        while self._writers:
            self._writers.popitem()[1].close()

    def _writer(self, run: str, step: int) -> SummaryWriter:
        """The writer of a TensorBoard run; what earlier sessions wrote from this step on is removed."""
        if run not in self._writers:
            folder = self._folder / "tensorboard" / run
            self._writers[run] = self._make(str(folder), purge_step=step)
        return self._writers[run]


def _pixels(png: bytes) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))
