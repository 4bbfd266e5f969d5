"""What is not of the type that a public function takes is one message with the name of the parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

import invreg
from invreg import DataError, SpecError, cli
from invreg.commands.flags import flags_of, with_flags

SPEC: dict[str, Any] = {"data": "photos"}
wrong: Any = 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: invreg.run(wrong), "spec: an instance of int"),
        (lambda: invreg.run(SPEC, output=wrong), "output: an instance of int"),
        (lambda: invreg.run(SPEC, device=wrong), "device: 3"),
        (lambda: invreg.run(SPEC, overrides=wrong), "overrides: 3"),
        (lambda: invreg.run(SPEC, overrides="noise.std=0.1"), "overrides: 'noise.std=0.1'"),
        (lambda: invreg.run(SPEC, overrides=["nonsense"]), "overrides: cannot set 'nonsense'"),
        (lambda: invreg.run(SPEC, overrides=["noise.std={"]), "overrides noise.std, line 1"),
        (lambda: invreg.load(wrong), "folder: an instance of int"),
        (lambda: invreg.certify(wrong), "folder: an instance of int"),
        (lambda: invreg.verify(wrong), "folder: an instance of int"),
        (lambda: invreg.redraw(wrong), "folder: an instance of int"),
        (lambda: invreg.load_model(wrong), "source: an instance of int"),
        (lambda: invreg.load_model("denoise").save(wrong), "to: an instance of int"),
        (lambda: invreg.export_model(wrong, to="model"), "run: an instance of int"),
        (lambda: invreg.export_model("run", to=wrong), "to: an instance of int"),
        (lambda: invreg.read_image(wrong), "path: an instance of int"),
        (lambda: invreg.write_image(wrong, np.zeros((4, 4))), "path: an instance of int"),
        (lambda: invreg.write_image("a.tif", np.zeros((4, 4)), white="x"), "a.tif: white = 'x'"),  # type: ignore[arg-type]
        (lambda: invreg.find_images(wrong), "folder: an instance of int"),
    ],
)
def test_it_is_named(call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as error:
        call()
    assert str(error.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_parameters_are_options_on_the_command_line() -> None:
    commands = get_command(cli.app).commands  # type: ignore[attr-defined]
    text = "another `output`, `white`, `data_error`, `prove`, `format`; not `other`"
    assert (
        with_flags(text, flags_of(commands["reconstruct"]))
        == "another --output, --white, --data-error, --no-proof, --format; not `other`"
    )
    assert with_flags(text, flags_of(commands["report"])) == text


def test_what_is_expected_is_listed_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        invreg.write_image(tmp_path / "a.xyz", np.zeros((4, 4)))
    assert str(error.value).endswith("expected: a name that ends in .png, .tif, .tiff, .jpg, .jpeg, .npy, .npz")
    assert "try: one of a, c" in str(SpecError("d", expected="one of a, b", hint="one of a, c"))
    assert "try" not in str(SpecError("d", expected="one of b, a", hint="one of a, b"))
    assert "try: did you mean 'a'?" in str(SpecError("d", expected="one of b, a", hint="did you mean 'a'?"))


def test_a_model_is_not_a_run(tmp_path: Path) -> None:
    folder = invreg.load_model("denoise", device="cpu").save(tmp_path / "model")
    for call in (invreg.load, invreg.certify, invreg.verify, invreg.redraw):
        with pytest.raises(invreg.StoreError, match=r"holds a model, not a run(.|\n)*invreg reconstruct"):
            call(folder)
    with pytest.raises(invreg.StoreError, match="holds a model, not a run"):
        invreg.export_model(folder, to=tmp_path / "again")


def test_a_method_of_a_bundled_model_is_named_without_a_path() -> None:
    with pytest.raises(invreg.StoreError, match=r"^denoise: no method 'iresnet' in this model"):
        invreg.load_model("denoise", "iresnet")
