"""The card of a model: what it is for, what it was trained on, its numbers and its limits, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from invreg.specs.yaml import dump_yaml
from invreg.text import count, duration, metric_title, number, plural, with_unit

if TYPE_CHECKING:
    from invreg.components.certificate import StabilityCertificate
    from invreg.models.model_folder import ModelConfig

#: Columns of a summary that are not results.
_NOT_METRICS = {"method", "parameters", "training_seconds", "reconstruction_seconds", "seconds"}


def card(config: ModelConfig, certificate: StabilityCertificate | None, *, has_residuals: bool = True) -> str:
    """The content of `README.md`, with the front matter that the Hugging Face Hub reads.

    Args:
        config: what the model is.
        certificate: what is proven of it.
        has_residuals: whether F(x) can be computed.
    """
    sections = [
        _front_matter(config, certificate),
        f"# {config.name}",
        _introduction(config, certificate),
        "## Use",
        _use(config, has_residuals),
        "## Problem",
        _problem(config),
        "## Training",
        _training(config),
        "## Results",
        _results(config),
        "## What is proven",
        _proven(certificate),
        "## Limits",
        _limits(config, certificate, has_residuals),
    ]
    return "\n\n".join(sections) + "\n"


def component_text(spec: Mapping[str, Any]) -> str:
    """A component in one line: `gaussian_blur(kernel_size=11, std=1.6667)`."""
    inner = ", ".join(f"{key}={_value(value)}" for key, value in spec.items() if key != "name" and value is not None)
    return f"{spec['name']}({inner})" if inner else str(spec["name"])


def _value(value: Any) -> str:
    if isinstance(value, Mapping) and "name" in value:
        return component_text(value)
    return repr(value) if isinstance(value, str) else str(value)


def _front_matter(config: ModelConfig, certificate: StabilityCertificate | None) -> str:
    tags = ["invreg", "inverse-problems", "image-restoration", config.operator["name"], config.reconstructor["name"]]
    content: dict[str, Any] = {
        "library_name": "invreg",
        "pipeline_tag": "image-to-image",
        "tags": [*tags, *(["certified"] if certificate is not None else [])],
    }
    if results := _index(config):
        content["model-index"] = [{"name": config.name, "results": results}]
    return f"---\n{dump_yaml(content)}---"


def _index(config: ModelConfig) -> list[dict[str, Any]]:
    """The model's own results, in the form of the Hub."""
    found = []
    tables = {"test images of the run": config.history.results, **config.history.further}
    for title, rows in tables.items():
        own = next((row for row in rows if row["method"] == config.name), None)
        metrics = [
            {"type": name, "value": round(row_value, 4)}
            for name, row_value in (own or {}).items()
            if _is_metric(name, row_value)
        ]
        if metrics:
            dataset = {"type": (config.history.data or {}).get("name", "images"), "name": title}
            found.append({"task": {"type": "image-to-image"}, "dataset": dataset, "metrics": metrics})
    return found


def _is_metric(name: str, value: Any) -> bool:
    return name not in _NOT_METRICS and not name.endswith("_std") and isinstance(value, int | float)


def _introduction(config: ModelConfig, certificate: StabilityCertificate | None) -> str:
    proven = (
        " Its stability is proven, and so is the distance of each computed image to the exact reconstruction."
        if certificate is not None and certificate.reconstruction_lipschitz is not None
        else ""
    )
    return (
        f"The method `{config.reconstructor['name']}` with {count(config.parameters)} weights, made with "
        f"[invreg](https://pypi.org/project/invreg/). It reconstructs {_kind(config)} images x from measurements "
        f"z = F(x) + noise, with F and the noise as below.{proven}"
    )


_AXES = {2: "rows, columns", 3: "slices, rows, columns"}


def _kind(config: ModelConfig) -> str:
    return {1: "grey", 3: "colour"}.get(config.image_shape[0], f"{config.image_shape[0]}-channel")


def _use(config: ModelConfig, has_residuals: bool) -> str:
    scale = "on the scale of the training" if config.measured_range else "on the scale of images in [0, 1]"
    shown = [*(["residual", "expected_residual"] if has_residuals else []), "distance", "notes"]
    return (
        "```python\nimport invreg\n\n"
        'model = invreg.load_model("PATH OF THIS FOLDER")\n'
        f"found = model.reconstruct(z)  # NumPy or torch, {scale}, or of 8 or 16 bits\n"
        f"print({', '.join(f'found.{name}' for name in shown)})\n```"
    )


def _problem(config: ModelConfig) -> str:
    lines = [
        f"- operator F: `{component_text(config.operator)}`",
        f"- noise: `{component_text(config.noise)}`",
        f"- method: `{component_text(config.reconstructor)}`",
        f"- set up for images of shape {config.image_shape} (channels, {_AXES[len(config.image_shape) - 1]}), with "
        "values in [0, 1]",
    ]
    if config.measured_range is not None:
        low, high = config.measured_range
        lines.append(f"- trained on measured pairs, whose measurements have values from {low:.4g} to {high:.4g}")
    return "\n".join(lines)


def _training(config: ModelConfig) -> str:
    history = config.history
    if history.data is None and history.trainer is None:
        return "Nothing is known of the training."
    lines = []
    if history.data is not None:
        lines.append(f"- images: `{component_text(history.data)}`")
    if history.images:
        counts = ", ".join(f"{amount} for {split}" for split, amount in history.images.items())
        lines.append(f"- {counts}")
    if history.trainer is not None:
        lines.append(f"- training: `{component_text(history.trainer)}`")
    seconds = history.summary.get("seconds")
    others = {key: value for key, value in history.summary.items() if key != "seconds"}
    if isinstance(seconds, int | float):
        lines.append(f"- time: {duration(float(seconds))}")
    if others:
        shown = (f"{key} {number(value) if isinstance(value, float) else value}" for key, value in others.items())
        lines.append(f"- {', '.join(shown)}")
    lines += [f"- warning: {' '.join(warning.split())}" for warning in history.warnings]
    return "\n".join(lines)


def _results(config: ModelConfig) -> str:
    tables = {"On the test images of the run": config.history.results, **config.history.further}
    shown = [f"{title}:\n\n{_table(rows, config.history.units)}" for title, rows in tables.items() if rows]
    return "\n\n".join(shown) or "Nothing was measured."


def _table(rows: list[dict[str, Any]], units: Mapping[str, str]) -> str:
    metrics = [name for name in rows[0] if any(_is_metric(name, row.get(name)) for row in rows)]
    titles = (with_unit(metric_title(name), units.get(name, "")) for name in metrics)
    head = f"| method | {' | '.join(titles)} |\n|---|{'---|' * len(metrics)}\n"
    cells = ([_cell(row.get(name), units.get(name, "")) for name in metrics] for row in rows)
    return head + "\n".join(f"| {row['method']} | {' | '.join(own)} |" for row, own in zip(rows, cells, strict=True))


def _cell(value: Any, unit: str) -> str:
    return number(float(value), unit) if isinstance(value, int | float) else ""


def _proven(certificate: StabilityCertificate | None) -> str:
    if certificate is None:
        return "Nothing: the method cannot certify its stability."
    return (
        f"{certificate.sentence}\n\nThe certificate is `certificate.json`. It is about Euclidean norms, exact "
        "arithmetic and these weights, and is verified against them whenever the model is loaded."
    )


def _limit_of_problem(has_residuals: bool) -> str:
    if has_residuals:
        return (
            "It is for measurements of this operator with this noise, and nothing checks that a measurement is one. If "
            "the residual is far from the expected residual, it is not."
        )
    return (
        "It is for measurements like those that it was trained on. Nothing is known of the operator, so there is no "
        "residual that would show a measurement of another kind; values far outside of those in training are noticed."
    )


def _limits(config: ModelConfig, certificate: StabilityCertificate | None, has_residuals: bool) -> str:
    trained = config.history.images.get("train")
    lines = [
        _limit_of_problem(has_residuals),
        *([f"It has learned from {plural(trained, 'image')}; others may look different."] if trained else []),
        "Details that the measurement has lost are a guess, which may be wrong, however good the image looks.",
    ]
    if certificate is not None:
        lines += [
            "What is proven is stability and numerical accuracy, not that the image is the true one.",
            "Nothing is proven of images that are so large that they are reconstructed in tiles.",
        ]
    return "\n".join(f"- {line}" for line in lines)
