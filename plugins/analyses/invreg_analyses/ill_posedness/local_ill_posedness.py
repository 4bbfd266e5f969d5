"""Directions in which a learned forward map is well-posed and the operator is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from invreg import Analyzer, CompletedRun, Events, Findings, ImageStack, LearnsForwardMap
from invreg_analyses.ill_posedness.figures import draw_derivatives, draw_directions, draw_operator
from invreg_analyses.ill_posedness.images import SUBJECT, choose_images
from invreg_analyses.ill_posedness.search import SearchSettings, search_directions
from invreg_analyses.ill_posedness.text import ill_posedness_text
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.style import file_names
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("the same name twice: images are looked at once")
    return names


_Names = Annotated[tuple[str, ...], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
#: The parameters that decide which images are looked at, and where; a study's analysis has them, too.
Images = Annotated[
    Annotated[int, Field(ge=1, le=1000)] | Annotated[_Names, AfterValidator(_different)],
    Field(
        description="names of test images; or a number: so many, spread evenly over all, or, for mask: subject, over "
        "those of the first 100 whose subject covers 10 to 60 % of the image"
    ),
]
Mask = Annotated[
    Annotated[str, Field(min_length=1)] | None,
    Field(
        description="the part of each image: subject, found by its brightness; the path of an image file (PNG) of the "
        "same size, lighter than middle grey inside; null: the whole image only"
    ),
]
Tolerance = Annotated[
    float, Field(gt=0, lt=1, description="residual of each direction, relative to difference + ||F'(x)||²")
]
MaxProducts = Annotated[
    int,
    Field(
        ge=50, description="products with derivatives for each spectrum, about; searches that need more are left out"
    ),
]


class LocalIllPosedness(Analyzer):
    """Directions in which learned forward maps react to a change of an image, and the operator hardly does.

    With F the operator (A*A / ||A||² where measurements are not images) and phi a learned forward map, for images x:
    the directions h, ||h|| = 1, that are largest in

        ||phi'(x) h||² - ||F'(x) h||² = <h, (phi'(x)* phi'(x) - F'(x)* F'(x)) h>.

    F is locally ill-posed along them, and phi is not: they show the regularization by the network.
    As the maximum is an eigenvalue, Lanczos iteration finds the largest one, not a local maximum, from products with
    derivatives. Its value is never above the maximum; `residual` says how far some eigenvalue is from it at most.
    Further directions are orthogonal to those before.

    In the same way, the directions in which ||F'(x) h|| is smallest: the ill-posedness of the operator alone (that of
    the first method, if methods stand for different operators). Gradient ascent on the sphere from the same start, the
    way of the paper, is listed for comparison; it is not shown.

    Directions are searched for on the whole image, and among those that vanish outside of a part of it.

    Raises:
        SpecError: if there is no such image.
        DataError: if a mask is missing, empty or of another size.
        InvregError: if no forward map can be differentiated.

    Source: Arndt & Nickel 2024, section 4.3.1, figures 11 and 12.
    """

    requires = (LearnsForwardMap,)
    needs_operator = True

    def __init__(
        self,
        images: Images = 3,
        mask: Mask = SUBJECT,
        directions: Annotated[int, Field(ge=1, le=100, description="number of leading directions")] = 6,
        tolerance: Tolerance = 1e-3,
        max_products: MaxProducts = 2000,
        ascent_steps: Annotated[int, Field(ge=0, le=100_000, description="of gradient ascent; 0: none")] = 50,
    ) -> None:
        self.images = images
        self.mask = mask
        self.directions = directions
        self.tolerance = tolerance
        self.max_products = max_products
        self.ascent_steps = ascent_steps

    def analyze(self, run: CompletedRun) -> Findings:
        findings = self.search(self.methods_of(run), run.images.test, run.seed, run.device, run.events)
        findings.tables["methods"] = methods_table(run)
        findings.scalars["tolerance"] = self.tolerance
        for label, own in findings.tables["directions"].query("rank == 1").groupby("method", sort=False):
            findings.scalars |= {f"{name}_{label}": float(own[name].mean()) for name in ("network", "operator")}
        findings.text = ill_posedness_text(findings.tables)
        return findings

    def search(
        self, nets: Mapping[str, Any], test: ImageStack, seed: int, device: torch.device, events: Events
    ) -> Findings:
        """Tables and arrays for some networks; the images are chosen among the test images."""
        images = choose_images(self.images, self.mask, test)
        progress = Progress(events, "local_ill_posedness", "directions", len(images) * len(nets))
        settings = SearchSettings(self.directions, self.tolerance, self.max_products, self.ascent_steps, seed)
        return search_directions(nets, images, settings, device, progress).findings(images, list(nets))

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        labels = list(dict.fromkeys(findings.tables["directions"]["method"]))
        named = list(zip(file_names(labels), labels, strict=True))
        figures = {f"directions_{name}": draw_directions(findings, label) for name, label in named}
        figures |= {f"derivatives_{name}": draw_derivatives(findings, label) for name, label in named}
        if len(findings.tables["operator"]):
            figures["operator"] = draw_operator(findings)
        return figures
