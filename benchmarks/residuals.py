"""What residual functions gain by being compiled from C: each part in turns with torch, by the time of the processor.

OMP_NUM_THREADS=1 python benchmarks/residuals.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from timing import arguments, machine, print_table, write_json
from torch import Tensor

from invreg_iresnet.inversion.starts import LearnedStarts
from invreg_iresnet.network.compiled import compiled
from invreg_iresnet.network.subnetwork import Subnetwork

_SIZES = ((8, 16), (16, 32), (32, 64))

Pair = tuple[Callable[[], object], Callable[[], object]]


def main() -> None:
    parser = arguments(__doc__, repetitions=15)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=60)
    options = parser.parse_args()
    found = {"machine": machine(torch.device("cpu"))}
    rows: dict[str, list[str]] = {}
    for channels, hidden in _SIZES:
        for name, pair in parts(channels, hidden, options.batch, options.size).items():
            ratio = in_turns(pair, options.repetitions)
            found[f"{name}, {channels}/{hidden}"] = ratio
            rows.setdefault(name, [name]).append(f"{ratio:.2f}")
    columns = ["C over torch", *(f"{channels}/{hidden}" for channels, hidden in _SIZES)]
    print_table(columns, list(rows.values()))
    write_json(found, options)


def parts(channels: int, hidden: int, batch: int, size: int) -> Mapping[str, Pair]:
    """By torch and from C: an evaluation, a corrected step, the correction of an answer, the adjoint, gradients."""
    kernel = (torch.randn(hidden, channels, 5, 5) / 30).contiguous(memory_format=torch.channels_last)
    mixing = torch.randn(channels, hidden, 1, 1) / hidden
    one = Subnetwork(kernel, torch.randn(hidden), mixing, torch.randn(channels), 0.1)
    x, z, w = (state(batch, channels, size) for _ in range(3))
    fast = compiled(one, x)
    if fast is None:
        raise SystemExit("no C compiler, or states of fewer pixels than are compiled for")
    starts = LearnedStarts(1, channels)
    starts.corrections.normal_()
    starts.taps.normal_()
    starts.batches += 1
    (correction,) = starts.predictions("answers")
    assert correction is not None
    assert correction.of_answer is not None
    of_answer, ahead, taps = correction.of_answer, correction.matrix, correction.taps
    room = fast.room(x)
    fast.evaluate(x, z, room)

    def corrected() -> Tensor:
        value = z + one.output(one.hidden(x))
        return correction.of_step(value - x).add_(value)

    return {
        "evaluation": (lambda: z + one.output(one.hidden(x)), lambda: fast.evaluate(x, z, room, look=False)),
        "corrected step": (corrected, lambda: fast.evaluate(x, z, None, ahead, look=False, give=False)),
        "correction of an answer": (lambda: of_answer(z - x).add_(z), lambda: fast.answer(x, z, ahead, taps)),
        "adjoint derivative": (
            lambda: z + one.adjoint(one.hidden_adjoint(w, room)),
            lambda: fast.adjoint(w, room, z, look=False),
        ),
        "gradients of weights": (
            lambda: one.weight_gradients(x, room, w, one.hidden_adjoint(w, room)),
            lambda: fast.gradients(x, room, w),
        ),
    }


def state(batch: int, channels: int, size: int) -> Tensor:
    return torch.randn(batch, channels, size, size).contiguous(memory_format=torch.channels_last)


def in_turns(pair: Pair, repetitions: int) -> float:
    """The median of the ratios within a turn, the second call over the first."""
    ratios = []
    for turn in range(repetitions + 1):
        seconds = []
        for call in pair:
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
        if turn:  # the first one warms up
            ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios)


if __name__ == "__main__":
    main()
