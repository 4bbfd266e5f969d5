"""The convergence of a study in one sentence, and what must be known to read it; the tables say the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from invreg.text import count, plural

if TYPE_CHECKING:
    import pandas as pd


def convergence_text(scalars: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """How many networks have falling errors and the approximation property, and whether the theorem can explain it."""
    trends, rates, errors, rule = (tables[name] for name in ("trends", "rates", "errors", "rule"))
    rule = rule[rule["operator"] == rule["operator"].iloc[0]]
    choice = ", ".join(f"{std:g}: {value:g}" for std, value in zip(rule["noise_std"], rule["lipschitz"], strict=True))
    images, total = scalars["images"], scalars["test_images"]
    which = plural(total, "test image") if images == total else f"the first {images} of {total} test images"
    found = rates.loc[rates["quantity"] == "misfit", "verdict"].value_counts()
    verdicts = ", ".join(f"{name} for {found[name]}" for name in ("seen", "not decided", "not seen") if name in found)
    sentences = [
        f"Along the choice L(δ) with {choice}, over {which}, the mean error falls at every step for "
        f"{trends['inversion'].sum()} of {plural(len(trends), 'network')} with exact data and for "
        f"{trends['error'].sum()} with noisy data; the local approximation property (2.4) is {verdicts}; per pixel, "
        f"δ/(1 − L), which (2.5) wants to go to zero, is {', '.join(f'{value:.3g}' for value in rule['per_pixel'])}.",
        "A few values of L cannot prove a limit.",
    ]
    if not scalars["rule_falls"]:
        sentences.append(
            "On these levels the choice does not satisfy (2.5), so the theorem cannot explain what the errors do here."
        )
    if errors["exceeds"].any():
        exceeding = f"{count(int(errors['exceeds'].sum()))} of {count(int(errors['images'].sum()))}"
        sentences.append(f"The bound of the proof does not hold for {exceeding} reconstructions.")
    if len(tables["left_out"]):
        sentences.append(f"Left out: {plural(len(tables['left_out']), 'network')}, see the table `left_out`.")
    if len(tables["warnings"]):
        sentences.append("Warnings: " + " ".join(map(str, tables["warnings"]["warning"])))
    return " ".join(sentences)
