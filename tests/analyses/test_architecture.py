"""Drawings of networks: counts and shapes against real networks, networks that do not describe themselves, files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch
from analysis_helpers import draw_svgs, make_run, texts, through_files
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Outline
from torch import Tensor, nn

from invreg import DescribesArchitecture, Registry, Splits
from invreg.components.analyzer import CompletedRun, Findings
from invreg.components.architecture import Architecture, Layer, Skip, Stage
from invreg.components.dataset import ImageStack
from invreg.components.operator import Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.components.trainer import TrainedMethod, TrainingLog
from invreg.errors import InvregError
from invreg_analyses.architecture.architecture import ArchitectureAnalysis
from invreg_analyses.architecture.figures import draw_architecture
from invreg_analyses.architecture.seen_layers import seen_architecture
from invreg_analyses.architecture.sheet import Line, wrapped
from toy import EverySecondRow, Same

SMALL: dict[str, dict[str, Any]] = {
    "iresnet": {"subnetworks": 3, "channels": 6, "hidden": 5, "padding": 2},
    "explicit_iresnet": {"subnetworks": 3, "channels": 6, "hidden": 5, "padding": 2, "lipschitz": 0.8},
    "unet": {"channels": [4, 6, 8], "kernel_size": 3},
    "conv_resnet": {"subnetworks": 3, "channels": 7, "hidden": 5},
    "diffnet": {"subnetworks": 2, "hidden": 6},
}
PAPER = {"iresnet": 4_263_700, "unet": 5_468_705, "conv_resnet": 4_263_873, "diffnet": 101_310}
IMAGE = (3, 18, 21)

every_network = pytest.mark.parametrize("name", list(SMALL))


def built(name: str, image: Shape = IMAGE, operator: Operator | None = None, **parameters: Any) -> Any:
    net = Registry.installed().build("reconstructor", {"name": name, **(SMALL.get(name, {}) | parameters)})
    net.setup(Problem(operator or Same()), image)
    return net.eval()


def size(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def run_with(nets: Mapping[str, Reconstructor], image: Shape = IMAGE) -> CompletedRun:
    run = make_run(dict.fromkeys(nets, 0.1), count=2, channels=image[0], size=(image[1], image[2]))
    return replace(run, methods={label: TrainedMethod(net, TrainingLog()) for label, net in nets.items()})


def analysed(**nets: Reconstructor) -> Findings:
    return ArchitectureAnalysis().analyze(run_with(nets))


def shapes_at_work(net: nn.Module) -> list[tuple[Shape, Shape]]:
    """What each convolution is given and gives, for one image."""
    found: list[tuple[Shape, Shape]] = []

    def listen(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        found.append((tuple(given[0].shape[1:]), tuple(result.shape[1:])))

    hooks = [module.register_forward_hook(listen) for module in net.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        net(torch.rand(1, *IMAGE))
    for hook in hooks:
        hook.remove()
    return found


# -- what the networks say of themselves


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PAPER))
def test_papers_networks_have_the_papers_counts(name: str) -> None:
    net = Registry.installed().build("reconstructor", {"name": name})
    net.setup(Problem(Same()), (1, 96, 96))
    architecture = net.architecture()
    assert architecture.parameters == size(net) == PAPER[name]
    check_texts(draw_architecture(name, architecture, PAPER[name], "#0072b2"))


@pytest.mark.slow
@every_network
def test_parameters_and_ends_are_those_of_the_network(name: str) -> None:
    net = built(name)
    assert isinstance(net, DescribesArchitecture)
    architecture = net.architecture()
    assert architecture.parameters == size(net)
    assert architecture.stages[0].shape_in == IMAGE == architecture.stages[-1].shape_out


@every_network
def test_nothing_is_said_before_setup(name: str) -> None:
    net = Registry.installed().build("reconstructor", {"name": name})
    with pytest.raises(InvregError, match=r"no (weights|layers) yet"):
        net.architecture()


@pytest.mark.parametrize("name", ["unet", "conv_resnet", "diffnet"])
def test_baselines_have_the_shapes_that_are_seen_at_work(name: str) -> None:
    net = built(name)
    architecture = net.architecture()
    described = [
        (part.shape_in, part.shape_out)
        for stage in architecture.stages
        for _ in range(stage.repeats)
        for part in stage.layers or [stage]
        if "conv " in part.operation
    ]
    described += [(skip.shape, skip.shape) for skip in architecture.skips if "conv " in skip.operation]
    assert sorted(described) == sorted(shapes_at_work(net))


@pytest.mark.parametrize("name", ["iresnet", "explicit_iresnet"])
def test_states_have_the_shapes_that_the_network_has(name: str) -> None:
    net = built(name)
    chain = net.architecture().stages[1]
    state = tuple(net.lift(torch.rand(1, *IMAGE)).shape[1:])
    assert chain.shape_in == chain.shape_out == state == (6, 22, 25)
    assert [layer.shape_out for layer in chain.layers] == [(5, 22, 25), (5, 22, 25), state]
    kernels, mixings = net.residuals.kernels[0].numel(), net.residuals.mixings[0].numel()
    assert [layer.parameters for layer in chain.layers] == [kernels + 5, 1, mixings + 6]
    assert chain.repeats == 3


def test_bounds_are_those_of_the_chain_and_hold_for_final_weights_only() -> None:
    net = built("iresnet", lipschitz=0.9)
    bound = net.residual_bound
    before = net.architecture()
    assert "≲" in before.constraint
    net.finalise()
    after = net.architecture()
    assert "≲" not in after.constraint
    numbers = [float(part.split("≤")[1]) for part in after.constraint.split(",")]
    assert numbers == pytest.approx([(1 + bound) ** 3, 10.0], rel=1e-3)
    assert numbers[0] >= (1 + bound) ** 3
    assert float(after.stages[1].constraint.split("≤")[1]) == pytest.approx(bound, rel=1e-3)
    explicit = built("explicit_iresnet", lipschitz=0.8).architecture()
    assert explicit.constraint.endswith("Lip(φ⁻¹) ≲ 5")
    assert (explicit.stages[1].iterated, before.stages[1].iterated) == ("forward", "inverse")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv_resnet", "iresnet"])
def test_measurements_that_are_no_images_are_brought_back_first(name: str) -> None:
    architecture = built(name, (1, 12, 10), EverySecondRow()).architecture()
    if name == "iresnet":
        assert architecture.right == "A*z/‖A‖²"
    else:
        assert architecture.stages[0].shape_in == (1, 6, 10)
        assert architecture.stages[0].operation == "A*z / ‖A‖²"
        assert "A*z/‖A‖²" in architecture.formula


def test_what_is_switched_off_is_not_drawn() -> None:
    architecture = built("conv_resnet", center=0.0, padding=0).architecture()
    assert [stage.name for stage in architecture.stages] == ["V", "residual blocks", "U"]
    assert architecture.formula.startswith("R(z) = N(z)")
    net = built("unet", (1, 16, 16), center=0.0, padding=0)
    assert net.architecture().skips[-1].source == ""
    draw_architecture("unet", net.architecture(), size(net), "#0072b2")


# -- the analysis


@pytest.mark.slow
@every_network
def test_tables_add_up_and_give_the_same_figure_again(name: str, tmp_path: Path) -> None:
    net = built(name)
    findings = analysed(net=net)
    stages, layers = findings.tables["stages"], findings.tables["layers"]
    assert stages["parameters"].sum() == size(net)
    for stage, group in layers.groupby("stage"):
        assert group["parameters"].sum() == stages.set_index("stage")["parameters"][stage]
    assert stages["shape in"].iloc[0] == "3 × 18 × 21"
    figures = draw_svgs(ArchitectureAnalysis(), through_files(findings, tmp_path))
    assert figures == draw_svgs(ArchitectureAnalysis(), findings)
    shown = texts(figures["network_1"])
    assert {"net", f"{size(net):,} parameters"} <= set(shown)
    if name in ("iresnet", "explicit_iresnet"):
        assert {"× 3", "↓  x − fᵢ(x)"} <= set(shown) or {"× 3", "↑  z + gᵢ(z)"} <= set(shown)


def test_methods_without_a_network_are_named_with_the_reason() -> None:
    registry = Registry.installed()
    tv, raw = registry.build("reconstructor", {"name": "tv"}), registry.build("reconstructor", {"name": "observation"})
    findings = analysed(raw=raw, net=built("diffnet"), tv=tv)
    assert "Not drawn: raw (no parameters), tv (no parameters)." in findings.text
    assert set(findings.tables["stages"]["method"]) == {"net"}
    assert list(ArchitectureAnalysis().draw(findings)) == ["network_1"]
    nothing = analysed(raw=raw)
    assert dict(ArchitectureAnalysis().draw(nothing)) == {}


def test_the_analysis_is_registered() -> None:
    assert isinstance(Registry.installed().build("analyzer", "architecture"), ArchitectureAnalysis)


@pytest.mark.slow
def test_labels_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    findings = ArchitectureAnalysis().analyze(run_with({"1e3": built("diffnet"), "a $b$": built("iresnet")}))
    figures = draw_svgs(ArchitectureAnalysis(), through_files(findings, tmp_path))
    assert "1e3" in texts(figures["network_1"])
    assert "a $b$" in texts(figures["network_2"])


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = matplotlib.rcParams.copy()
    draw_svgs(ArchitectureAnalysis(), analysed(net=built("unet")))
    assert matplotlib.rcParams.copy() == before


# -- networks that do not describe themselves


class Undescribed(Reconstructor):
    """Three equal blocks, a layer that is used twice, something between layers, and a weight of its own."""

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 1)) for _ in range(3))
        self.again = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.weight = nn.Parameter(torch.ones(7))
        self.architecture = nn.Identity()  # a name that anybody may use
        self.last = nn.Conv2d(6, 3, 5, padding=2, stride=1)

    def forward(self, z: Tensor) -> Tensor:
        x = z
        for block in self.blocks:
            x = block(nn.functional.pad(x, (1, 1, 1, 1))) * self.weight.mean()
        x = self.norm(self.again(self.again(x)))
        return self.last(torch.cat([x, z], 1))


def test_an_undescribed_network_is_drawn_from_its_layers(tmp_path: Path) -> None:
    net = Undescribed()
    net.setup(Problem(Same()), IMAGE)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    findings = analysed(undescribed=net)
    assert net.training
    assert net.norm.training
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    stages = findings.tables["stages"]
    assert stages["parameters"].sum() == size(net)
    assert stages.loc[stages["kind"] == "elsewhere", "parameters"].tolist() == [7]
    assert findings.tables["networks"]["source"].tolist() == ["layers"]
    shown = stages.set_index("stage")
    assert shown.loc["again", "parameters"] == 12
    assert shown.loc["again (2)", "parameters"] == 0  # the same weights once more
    assert shown.loc["last", "operation"] == "Conv2d 5×5"
    gaps = stages[stages["operation"] == "done between layers"]
    assert ("3 × 18 × 21", "6 × 18 × 21") in list(zip(gaps["shape in"], gaps["shape out"], strict=True))
    assert "operations between them are not shown" in findings.text
    assert "7 of them in no stage" in findings.text
    figures = draw_svgs(ArchitectureAnalysis(), through_files(findings, tmp_path))
    assert figures == draw_svgs(ArchitectureAnalysis(), findings)


class Repeats(Reconstructor):
    """Equal layers in a row."""

    def __init__(self, count: int = 5, shared: bool = False) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(1 if shared else count)]
        self.layers = nn.ModuleList(layers)
        self.order = [0 if shared else index for index in range(count)]

    def forward(self, z: Tensor) -> Tensor:
        for index in self.order:
            z = self.layers[index](z)
        return z


def test_repeated_layers_are_one_stage() -> None:
    (stage,) = seen_architecture(Repeats(), torch.rand(1, *IMAGE)).stages
    assert (stage.repeats, stage.parameters, stage.total) == (5, 84, 420)
    assert [layer.operation for layer in stage.layers] == ["Conv2d 3×3", "ReLU"]
    first, again, _ = seen_architecture(Repeats(200, shared=True), torch.rand(1, *IMAGE)).stages
    assert (first.parameters, again.total, again.repeats) == (84, 0, 199)


def test_a_network_of_one_piece_is_one_stage() -> None:
    class Gain(Reconstructor):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))

        def forward(self, z: Tensor) -> Tensor:
            return self.gain * z

    (stage,) = seen_architecture(Gain(), torch.rand(1, *IMAGE)).stages
    assert (stage.operation, stage.parameters, stage.shape_out) == ("Gain", 1, IMAGE)


@pytest.mark.slow
def test_a_network_of_very_many_stages_is_abridged_in_the_figure_only() -> None:
    stages = [stage(f"layer {number}", parameters=1) for number in range(90)]
    figure = draw_architecture("many", Architecture(stages, [Skip("layer 40", "layer 88", (1, 8, 8))]), 90, "#0072b2")
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert {"layer 0", "layer 89", "68 more stages", "68 parameters"} <= set(shown)
    assert any("joined by layer 40" in text for text in shown)
    check_texts(figure)


def test_wrong_descriptions_cost_only_their_method() -> None:
    class Wrong(Repeats):
        def architecture(self) -> Any:
            return "a nice one"

    class Boastful(Repeats):
        def architecture(self) -> Architecture:
            return Architecture([Stage("all", "", IMAGE, IMAGE, 10**6)])

    findings = analysed(wrong=Wrong(), boastful=Boastful(), net=built("diffnet"))
    assert set(findings.tables["stages"]["method"]) == {"net"}
    assert "architecture() gives a str" in findings.text
    assert "1,000,000 parameters in a network with 420" in findings.text


def test_the_first_test_measurement_is_what_layers_are_shown() -> None:
    net = Repeats()
    run = run_with({"net": net})
    images = ImageStack(torch.rand(2, *IMAGE), ["a", "b"])
    run = replace(run, images=Splits(run.images.train, images, images), measurements=torch.rand(2, 3, 9, 8))
    assert ArchitectureAnalysis().analyze(run).tables["stages"]["shape in"].iloc[0] == "3 × 9 × 8"


# -- descriptions, and their drawings


def stage(name: str, given: Shape = (1, 8, 8), result: Shape = (1, 8, 8), **more: Any) -> Stage:
    return Stage(name, "conv", given, result, **more)


@pytest.mark.parametrize(
    ("stages", "skips", "message"),
    [
        ([], [], "no stages"),
        ([stage("a"), stage("a")], [], "different ones"),
        ([stage("")], [], "a name for each stage"),
        ([stage("a"), stage("b", (2, 8, 8))], [], "fit together"),
        ([stage("a", repeats=0)], [], "0 repeats"),
        ([stage("a", parameters=-1)], [], "-1 parameters"),
        ([stage("a", repeats=2, result=(2, 8, 8))], [], "repeated"),
        ([stage("a", parameters=3, layers=[Layer("b", (1,), (1,), 2)])], [], "2 parameters in a with 3"),
        ([stage("a"), stage("b")], [Skip("b", "a", (1,))], "a skip from 'b' to 'a'"),
        ([stage("a"), stage("b")], [Skip("a", "c", (1,))], "a skip from 'a' to 'c'"),
        ([stage("a"), stage("b")], [Skip("a", "b", (1,), parameters=-1)], "-1 parameters"),
    ],
)
def test_contradictions_are_refused(stages: list[Stage], skips: list[Skip], message: str) -> None:
    with pytest.raises(InvregError, match=message):
        Architecture(stages, skips)


def boxes(figure: Figure) -> list[tuple[float, float, float]]:
    """Left edge, upper edge and width of the boxes, from top to bottom."""
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    return sorted(((one.get_x(), one.get_y(), one.get_width()) for one in patches), key=lambda box: box[1])


def arcs(figure: Figure) -> list[tuple[float, float, float]]:
    """Left edge, upper and lower end of the skips drawn on the left of the boxes."""
    left = min(x for x, _, _ in boxes(figure))
    paths = [patch.get_path() for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    arrows = [path.vertices[path.codes != Outline.CLOSEPOLY] for path in paths]
    found = [(float(one[:, 0].min()), float(one[:, 1].min()), float(one[:, 1].max())) for one in arrows]
    return sorted(one for one in found if one[0] < left - 0.05)


def test_coarser_scales_are_narrower_and_the_skips_of_a_unet_enclose_each_other() -> None:
    unet = built("unet").architecture()
    figure = draw_architecture("unet", unet, unet.parameters, "#0072b2")
    found = boxes(figure)
    assert len(found) == len(unet.stages)
    by_name = {stage.name: box for stage, box in zip(unet.stages, found, strict=True)}
    widths = {name: round(width, 6) for name, (_, _, width) in by_name.items()}
    assert widths["enter"] == widths["first"] == widths["up to scale 1"] == widths["last"]
    assert widths["first"] > widths["down to scale 2"] > widths["down to scale 3"]
    assert widths["down to scale 2"] == widths["up to scale 2"]
    outermost_first = [("enter", "last"), ("first", "up to scale 1"), ("down to scale 2", "up to scale 2")]
    assert {(skip.source, skip.target) for skip in unet.skips} == set(outermost_first)
    for (source, target), (_, start, end) in zip(outermost_first, arcs(figure), strict=True):
        assert by_name[source][1] < start < by_name[source][1] + 0.6
        assert by_name[target][1] < end < by_name[target][1] + 0.6


def test_skips_that_do_not_overlap_share_a_lane() -> None:
    stages = [stage(f"layer {number}") for number in range(5)]
    skips = [Skip("layer 0", "layer 2", (1, 8, 8)), Skip("layer 2", "layer 4", (1, 8, 8))]
    (first, _, end), (second, start, _) = arcs(draw_architecture("chain", Architecture(stages, skips), 0, "#0072b2"))
    assert first == second
    assert end < start


def test_texts_stay_in_their_boxes() -> None:
    word = "a_word_that_is_far_too_long_for_any_box" * 9
    lines = wrapped([Line(f"{word} and u + Δt (k₁u↑ + k₂u↓ + k₃u← + k₄u→ − k₀u) of 64 copies")], 1.2)
    assert all(line.width <= 1.2001 for line in lines)
    assert any(line.text.endswith("64 copies") for line in lines)
    assert [line.text for line in wrapped([Line("crop, + 0.45")], 0.6)] == ["crop,", "+ 0.45"]
    figure = draw_architecture(word, Architecture([stage(word, layers=[Layer(word, (1,), (1,))])]), 0, "#0072b2")
    figure.canvas.draw()
    width = figure.bbox.width
    assert all(text.get_window_extent().x1 <= width for text in figure.axes[0].texts)


@every_network
def test_no_texts_overlap(name: str) -> None:
    net = built(name)
    check_texts(draw_architecture(name, net.architecture(), size(net), "#0072b2"))


@pytest.mark.slow
def test_skips_and_two_directions_in_any_chain() -> None:
    body = stage("body", parameters=9, repeats=4, residual="+", layers=[Layer("conv", (1, 8, 8), (1, 8, 8), 9)])
    skips = [Skip("", "end", (1, 8, 8)), Skip("start", "end", (1, 8, 8), "conv 1×1", "concatenated", 2)]
    chain = Architecture([stage("start"), body, stage("end")], skips)
    figure = draw_architecture("chain", chain, chain.parameters, "#e69f00")
    shown = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "joined by start: conv 1×1, concatenated, 1 × 8 × 8, 2 parameters" in shown
    assert "joined by z: added, 1 × 8 × 8" in shown
    assert len(arcs(figure)) == 2
    check_texts(figure)
    flow = [stage(f"coupling layer number {i}", inverse="decoupling of one half from the other") for i in range(9)]
    check_texts(draw_architecture("flow", Architecture(flow, inverse="reconstruction"), 0, "#e69f00"))


def check_texts(figure: Figure) -> None:
    """Fails where texts of a diagram lie over each other, or leave the figure."""
    figure.canvas.draw()
    extents = [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts if text.get_text()]
    assert len(extents) > 10
    for place, (text, one) in enumerate(extents):
        for other_text, other in extents[place + 1 :]:
            # Two pixels are what letters of neighbouring lines may share.
            apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 + 2 or other.y1 <= one.y0 + 2
            assert apart, f"{text!r} over {other_text!r}"
        assert one.x0 >= 0, text
        assert one.x1 <= figure.bbox.width, text
        assert one.y0 >= 0, text
        assert one.y1 <= figure.bbox.height, text
