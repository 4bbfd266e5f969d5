"""Learned methods at equal wall-clock time, over several seeds; see specs/equal_time.yaml.

    python benchmarks/equal_time.py --set "operator={name: perona_malik}" --set noise.std=0.05

Other photographs: --set "data={name: image_folder, path: FOLDER, ...}".
"""

from __future__ import annotations

from pathlib import Path

import yaml
from over_seeds import arguments, print_table, run_over_seeds, write_json

SPEC = Path(__file__).parents[1] / "specs/equal_time.yaml"
LEARNED = ("iresnet", "explicit_iresnet", "conv_resnet", "unet", "diffnet")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=1.5, help="time for the training of each method")
    parser.add_argument("--methods", nargs="+", help="only these; by default, all of the spec")
    options = parser.parse_args()
    spec = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
    if options.methods:
        spec["methods"] = {label: spec["methods"][label] for label in options.methods}
    learned = [label for label in LEARNED if label in spec["methods"]]
    options.set = [*options.set, *(f"methods.{label}.trainer.max_minutes={options.minutes}" for label in learned)]
    table = run_over_seeds(spec, options)
    print_table(table)
    print(f"\n{options.minutes:g} minutes for each training; seeds {options.seeds}.")
    write_json(table, options)


if __name__ == "__main__":
    main()
