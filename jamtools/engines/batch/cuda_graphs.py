"""A step on a card, recorded once and replayed: CUDA graphs.

One step is some fifty small kernels, and starting them one by one takes longer than their work. A graph is recorded once
and started as a whole; its shapes, addresses and order are fixed, so that it gives what the calls give.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

#: Steps of the longer of the two graphs.
MANY = 10

#: Calls before a capture: libraries set themselves up in the first ones.
WARM = 3


class Graphs:
    """A step on the card `device`, recorded.

    `step` is called while this is made, to warm up: nothing may come of it then. It must neither read from the device nor
    write to it from the host, and depend on nothing but the contents of tensors that stay where they are.
    """

    def __init__(self, step: Callable[[], None], device: torch.device) -> None:
        self._device = device
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        with torch.cuda.device(device):
            side = torch.cuda.Stream()
            self._warm_up(step, side)
            self._graphs = {MANY: torch.cuda.CUDAGraph(), 1: torch.cuda.CUDAGraph()}
            for steps, graph in self._graphs.items():
                self._record(step, side, steps, graph)

    def replay(self, n: int) -> None:
        """Takes n steps, on the current stream."""
        with torch.cuda.device(self._device):
            for size, graph in self._graphs.items():  # the longer one first
                count, n = divmod(n, size)
                for _ in range(count):
                    graph.replay()

    @staticmethod
    def _warm_up(step: Callable[[], None], side: torch.cuda.Stream) -> None:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM):
                step()
        torch.cuda.current_stream().wait_stream(side)

    @staticmethod
    def _record(
        step: Callable[[], None], side: torch.cuda.Stream, steps: int, graph: torch.cuda.CUDAGraph
    ) -> None:
        # the main thread may go on meanwhile: only this one's calls are looked at
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            for _ in range(steps):
                step()
