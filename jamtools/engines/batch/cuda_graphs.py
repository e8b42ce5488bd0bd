"""A step on a CUDA device, recorded once and replayed: CUDA graphs.

One step consists of about fifty small kernels. Starting them one by one takes longer than computing them. A graph is
recorded once and started as a whole. Its shapes, addresses and order are fixed, so it gives the same bytes as the recorded
calls.

Source: none, bookkeeping only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

#: Steps in the longer of the two graphs.
LONG_GRAPH_STEPS = 10

#: Calls of the step before it is recorded, because libraries initialise themselves in the first calls.
WARM_UP_CALLS = 3


class StepGraphs:
    """The recorded graphs of a step on a CUDA device.

    The constructor calls `step` several times; these calls must change nothing. `step` must transfer no data between host
    and device, and must depend only on the contents of tensors that stay at their addresses.
    """

    def __init__(self, step: Callable[[], None], device: torch.device) -> None:
        self._device = device
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        with torch.cuda.device(device):
            stream = torch.cuda.Stream()
            self._warm_up(step, stream)
            self._graphs = {LONG_GRAPH_STEPS: torch.cuda.CUDAGraph(), 1: torch.cuda.CUDAGraph()}
            for steps, graph in self._graphs.items():
                self._record(step, stream, steps, graph)

    def replay(self, n: int) -> None:
        """Takes n steps on the current stream."""
        with torch.cuda.device(self._device):
            for size, graph in self._graphs.items():  # the longer graph first
                count, n = divmod(n, size)
                for _ in range(count):
                    graph.replay()

    @staticmethod
    def _warm_up(step: Callable[[], None], stream: torch.cuda.Stream) -> None:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_CALLS):
                step()
        torch.cuda.current_stream().wait_stream(stream)

    @staticmethod
    def _record(
        step: Callable[[], None], stream: torch.cuda.Stream, steps: int, graph: torch.cuda.CUDAGraph
    ) -> None:
        # "thread_local": only calls of this thread are checked, so the main thread may use the device meanwhile
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            for _ in range(steps):
                step()
