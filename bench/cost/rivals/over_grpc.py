"""gRPC's synchronous server and client: one unary method of plain bytes, so that nothing is generated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from bench.bare import Part
from bench.cost.rivals.table import Call

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def serve(port: int, part: Part) -> None:
    """One worker thread computes."""
    method = grpc.unary_unary_rpc_method_handler(lambda payload, _context: part.handle(payload))
    server = grpc.server(ThreadPoolExecutor(1), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tail", {"Run": method}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


@contextmanager
def calling(port: int, _made: Callable[[], Part]) -> Iterator[Call]:
    """One channel."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        yield channel.unary_unary("/tail/Run")
