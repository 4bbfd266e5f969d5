"""The quickstart over several seeds: quality of each method, and how long everything takes."""

from __future__ import annotations

from over_seeds import arguments, print_table, run_over_seeds, write_json

from invreg.specs.bundled import quickstart_path


def main() -> None:
    options = arguments(__doc__).parse_args()
    table = run_over_seeds(quickstart_path(), options)
    print_table(table)
    whole = table.groupby("seed")["total_seconds"].first().mean()
    print(f"\nWhole run: {whole:.0f} s, report included; seeds {options.seeds}.")
    write_json(table, options)


if __name__ == "__main__":
    main()
