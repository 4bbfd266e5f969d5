"""Checks of analyses of runs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from invreg.components.analyzer import Analyzer, CompletedRun, Findings
from invreg.testing.checks import Check, CheckFailure, Failure, Refused, instance_of, run_checks, title_of
from invreg.testing.constructors import constructor_checks, rebuilt
from invreg.testing.findings import findings_checks
from invreg.testing.numbers import demand_equal, demand_same
from invreg.testing.toys import toy_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_analyzer(analyzer: Analyzer | type[Analyzer], run: CompletedRun | None = None) -> None:
    """Checks that findings can be saved and drawn from files, and that nothing else is done or changed.

    Args:
        analyzer: an instance, or a class that can be built without arguments.
        run: a finished run to analyse; by default a small one, with a method that returns the measurement and a network
            that has a local forward map (`LearnsForwardMap`, `HasLocalForwardMap`) and a log. An analysis that requires
            other capabilities is only checked for its constructor, if no run is given.

    Raises:
        CheckFailure: an `AssertionError` that names each failed check.
    """
    tested: Analyzer = instance_of(analyzer, Analyzer)  # type: ignore[type-abstract]
    title = title_of(analyzer)
    completed = toy_run() if run is None else run
    if run is not None and not _able(tested, run):
        names = ", ".join(capability.__name__ for capability in tested.requires)
        failure = Failure("requires", "no method of the run is able to be analysed", names, "give another run")
        raise CheckFailure(title, [failure])
    run_checks(title, _checks(tested, completed))


def _able(analyzer: Analyzer, run: CompletedRun) -> dict[str, Any]:
    return {
        label: method
        for label, method in run.methods.items()
        if all(isinstance(method.reconstructor, capability) for capability in analyzer.requires)
    }


def _checks(analyzer: Analyzer, run: CompletedRun) -> Iterator[Check]:
    def analyze() -> Findings:
        return cast(Analyzer, rebuilt(analyzer)).analyze(run)

    def draw(findings: Findings) -> Mapping[str, Figure]:
        return cast(Analyzer, rebuilt(analyzer)).draw(findings)

    if analyzer.requires:
        yield "requires", lambda: _requires(analyzer, run)
    if _able(analyzer, run):
        # First, because a change that is made once need not show in a run that has been changed already.
        yield "run_unchanged", lambda: _run_unchanged(analyze, run)
        yield from findings_checks(analyze, draw)
    yield from constructor_checks(analyzer)


def _requires(analyzer: Analyzer, run: CompletedRun) -> None:
    demand_equal(
        sorted(analyzer.methods_of(run)),
        sorted(_able(analyzer, run)),
        "the list of methods_of(run)",
        "leave out methods that lack a capability in `requires`; do not redefine methods_of()",
    )


def _look(run: CompletedRun) -> dict[str, Tensor]:
    seen = {"measurements": run.measurements, "test images": run.images.test.images}
    seen |= {f"reconstructions of {label}": x for label, x in run.reconstructions.items()}
    for label, method in run.methods.items():
        for name, value in method.reconstructor.state_dict().items():
            seen[f"weight {name} of {label}"] = value
    return {name: value.detach().clone() for name, value in seen.items()}


def _run_unchanged(analyze: Any, run: CompletedRun) -> None:
    before, table = _look(run), run.metrics.copy(deep=True)
    nets = {label: method.reconstructor for label, method in run.methods.items()}
    asked = {label: [p.requires_grad for p in net.parameters()] for label, net in nets.items()}
    modes = {label: net.training for label, net in nets.items()}
    logs = {label: copy.deepcopy(method.log.rows) for label, method in run.methods.items()}
    analyze()
    fix = "work on copies: other analyses look at the same run"
    for name, value in _look(run).items():
        demand_same(value, before[name], f"analyze() changed the {name}", fix)
    if not run.metrics.equals(table):
        raise Refused("analyze() changed the table of metrics", "the run as it was", fix)
    for label, net in nets.items():
        demand_equal(net.training, modes[label], f"after analyze(), training of {label}", "put the mode back")
        demand_equal(
            [p.requires_grad for p in net.parameters()], asked[label], f"requires_grad of the weights of {label}", fix
        )
        left = [name for name, p in net.named_parameters() if p.grad is not None]
        demand_equal(left, [], f"weights of {label} with a gradient left behind", "use torch.autograd.grad")
        demand_equal(run.methods[label].log.rows, logs[label], f"the log of {label}", fix)
