"""Learned methods at equal wall-clock time, over several seeds; see specs/equal_time.yaml."""

from __future__ import annotations

from pathlib import Path

from over_seeds import arguments, print_table, run_over_seeds, write_json

SPEC = Path(__file__).parents[1] / "specs/equal_time.yaml"
LEARNED = ("iresnet", "explicit_iresnet", "conv_resnet", "unet", "diffnet")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=1.5, help="time for the training of each method")
    options = parser.parse_args()
    options.set = [*options.set, *(f"methods.{label}.trainer.max_minutes={options.minutes}" for label in LEARNED)]
    table = run_over_seeds(SPEC, options)
    print_table(table)
    print(f"\n{options.minutes:g} minutes for each training; seeds {options.seeds}.")
    write_json(table, options)


if __name__ == "__main__":
    main()
