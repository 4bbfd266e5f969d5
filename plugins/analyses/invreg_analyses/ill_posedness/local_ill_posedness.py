"""In which directions a learned forward map is well-posed where the operator is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from invreg import Analyzer, CompletedRun, Findings, LearnsForwardMap, SpecError
from invreg_analyses.ill_posedness.figures import draw_derivatives, draw_directions, draw_operator
from invreg_analyses.ill_posedness.images import MaskedImage, choose_images
from invreg_analyses.ill_posedness.masks import SUBJECT, check_part
from invreg_analyses.ill_posedness.search import REGIONS, Found, Settings, investigate
from invreg_analyses.ill_posedness.text import ill_posedness_text
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.style import file_names
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_Box = tuple[int, int, int, int]
#: The parameters that decide which images are looked at, and where; a study's analysis has them, too.
Images = Annotated[
    Annotated[int, Field(ge=1, le=1000)] | Annotated[tuple[str, ...], Field(min_length=1)],
    Field(description="so many test images, or their names"),
]
Mask = Annotated[
    str | _Box | dict[str, str | _Box] | None,
    Field(description="subject, a box [top, left, height, width], an image file, or {name of image: one of these}"),
]
Tolerance = Annotated[float, Field(gt=0, lt=1, description="residual of each direction, relative to squared norms")]
MaxProducts = Annotated[int, Field(ge=50, description="products with derivatives for each spectrum, about")]


class LocalIllPosedness(Analyzer):
    """Directions in which learned forward maps react to a change of an image, and the operator hardly does.

    With F the operator (A*A / ||A||² where measurements are no images) and phi a learned forward map, for images x:
    the directions h, ||h|| = 1, that are largest in

        ||phi'(x) h||² - ||F'(x) h||² = <h, (phi'(x)* phi'(x) - F'(x)* F'(x)) h>.

    F is locally ill-posed along them, and phi is not: they show what the network has to make up, its regularization.
    As the maximum is an eigenvalue, Lanczos iteration finds the largest one, not a local maximum, from products with
    derivatives. Its value is never above the maximum; `residual` says how far some eigenvalue is from it at most.
    Further directions are orthogonal to those before.

    In the same way, the directions in which ||F'(x) h|| is smallest: the ill-posedness of the operator alone (that of
    the first method, if methods stand for different operators). Gradient ascent on the sphere from the same start, the
    way of the paper, is listed for comparison; it is not shown.

    Directions are searched for on the whole image, and among those that vanish outside of a part of it.

    Args:
        images: names of test images; or a number: so many, spread evenly over those whose subject covers 10 to 60 % of
            the image (for `mask: subject`; of the first 100), over all, or the first that `mask` names.
        mask: the part: `subject`, found in each image by its brightness; a box [top, left, height, width]; the path of
            an image file of the same size, lighter than middle grey inside; names of images with one of these; None for
            the whole image only.
        directions: number of leading directions.
        tolerance: residual of each direction, relative to `difference` + ||F'(x)||².
        max_products: products for each spectrum, about; searches that need more are left out, and listed.
        ascent_steps: of gradient ascent; 0 for none.

    Raises:
        SpecError: if there is no such image, or a box is not inside of it.
        DataError: if a mask is missing, empty or of another size.
        InvregError: if no forward map can be differentiated.

    Source: Arndt & Nickel 2024, section 4.3.1, figures 11 and 12.
    """

    requires = (LearnsForwardMap,)

    def __init__(
        self,
        images: Images = 3,
        mask: Mask = SUBJECT,
        directions: Annotated[int, Field(ge=1, le=100, description="number of leading directions")] = 6,
        tolerance: Tolerance = 1e-3,
        max_products: MaxProducts = 2000,
        ascent_steps: Annotated[int, Field(ge=0, le=100_000, description="of gradient ascent; 0: none")] = 50,
    ) -> None:
        check_images(images)
        check_part(mask)
        self.images = images
        self.mask = mask
        self.directions = directions
        self.tolerance = tolerance
        self.max_products = max_products
        self.ascent_steps = ascent_steps

    def analyze(self, run: CompletedRun) -> Findings:
        nets, test = self.methods_of(run), run.images.test
        images = choose_images(self.images, self.mask, list(map(str, test.names)), test.images)
        settings = Settings(self.directions, self.tolerance, self.max_products, self.ascent_steps, run.seed)
        progress = Progress(run.events, "local_ill_posedness", "directions", len(images) * len(nets))
        found = investigate(nets, images, settings, run.device, progress)
        tables, arrays = tables_of(found, images, list(nets)), arrays_of(found, images, list(nets))
        tables["methods"] = methods_table(run)
        scalars: dict[str, Any] = {"tolerance": self.tolerance}
        for label, own in tables["directions"].groupby("method", sort=False):
            first = own[own["rank"] == 1]
            scalars[f"network_{label}"] = float(first["network"].mean())
            scalars[f"operator_{label}"] = float(first["operator"].mean())
        return Findings(scalars, tables, arrays, ill_posedness_text(tables))

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        labels = list(dict.fromkeys(findings.tables["directions"]["method"]))
        names = file_names(labels)
        figures = {
            f"directions_{name}": draw_directions(findings, label) for name, label in zip(names, labels, strict=True)
        }
        figures |= {
            f"derivatives_{name}": draw_derivatives(findings, label) for name, label in zip(names, labels, strict=True)
        }
        if len(findings.tables["operator"]):
            figures["operator"] = draw_operator(findings)
        return figures


def check_images(images: int | Sequence[str]) -> None:
    """Refuses no images, and an image twice.

    Raises:
        SpecError: naming what is wrong.
    """
    if isinstance(images, int):
        if images < 1:
            raise SpecError(f"{images}", where="images", expected="at least one image")
    elif not images or len(set(images)) < len(images):
        raise SpecError(", ".join(images) or "nothing", where="images", expected="different names of test images")


def tables_of(found: Found, images: Sequence[MaskedImage], labels: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Tables of directions, gradient ascent, the operator, images, networks (as in arrays) and what is left out."""
    import pandas as pd

    key = ["method", "image", "region"]
    return {
        "directions": pd.DataFrame(found.leading),
        "ascent": pd.DataFrame(found.ascent, columns=[*key, "steps", "reached", "largest"]),
        "operator": pd.DataFrame(found.smallest, columns=["image", "region", "rank", "map", "derivative", "residual"]),
        "images": pd.DataFrame(
            [(one.name, one.mask is not None, one.share) for one in images], columns=["image", "has_part", "share"]
        ),
        "networks": pd.DataFrame({"method": list(labels)}),
        "left_out": pd.DataFrame(found.left_out, columns=[*key, "reason"], dtype=object),
    }


def arrays_of(found: Found, images: Sequence[MaskedImage], labels: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Images, masks and first directions, NaN for one that was not found.

    - `images`: `[I, C, H, W]`; `masks`: `[I, H, W]`;
    - `directions`: `[methods, I, regions, C, H, W]`; `operator_directions`: `[I, regions, C, H, W]`.
    """
    x = np.stack([one.x[0].numpy() for one in images])
    masks = np.zeros((len(images), *x.shape[-2:]), dtype=np.uint8)
    directions = np.full((1 + len(labels), len(images), len(REGIONS), *x.shape[1:]), np.nan, dtype=np.float32)
    for i, one in enumerate(images):
        if one.mask is not None:
            masks[i] = one.mask
        for number, label in enumerate(("", *labels)):
            for j, region in enumerate(REGIONS):
                picture = found.pictures.get((label, one.name, region))
                if picture is not None:
                    directions[number, i, j] = picture
    return {"images": x, "masks": masks, "directions": directions[1:], "operator_directions": directions[0]}
