"""A server that answers as a test wants, with the certificates of a directory."""

from __future__ import annotations

import collections
import threading
from concurrent import futures
from typing import Any, Callable, Iterator

import grpc

from mayfly.rpc import error_details_pb2, status_pb2
from mayfly.v1 import function_io_pb2 as pb
from mayfly.v1 import function_io_pb2_grpc


class FakeServer(function_io_pb2_grpc.FunctionIoServicer):
    """Counts the items of each RPC, and stores nothing. `gate` lets RPCs pass while it is set."""

    def __init__(self, certificates: str) -> None:
        self.counts: dict[str, list[int]] = collections.defaultdict(list)
        self.arrived = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.download: Callable[[pb.DownloadRequest], Iterator[pb.DownloadResponse]]
        self.overloads = 0  # so many downloads end with OVERLOADED
        self.errors: list[tuple[grpc.StatusCode, str]] = []  # of the next RPCs
        self._is_over = threading.Event()
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        function_io_pb2_grpc.add_FunctionIoServicer_to_server(self, self._server)

        def read(name: str) -> bytes:
            with open(f"{certificates}/{name}", "rb") as file:
                return file.read()

        credentials = grpc.ssl_server_credentials(
            [(read("server.key"), read("server.pem"))], read("ca.pem"), True
        )
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    def close(self) -> None:
        self.gate.set()
        self._is_over.set()
        self._server.stop(None).wait()

    def _arrive(self, rpc: str, count: int, context: Any) -> None:
        self.counts[rpc].append(count)
        self.arrived.release()
        self.gate.wait()
        self._fail(context)

    def _fail(self, context: Any) -> None:
        if not self.errors:
            return
        code, text = self.errors.pop(0)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:  # the client's
            self._is_over.wait()
        context.abort(code, text)

    def PutInputs(self, request: Any, context: Any) -> Any:
        self._arrive("PutInputs", len(request.items), context)
        results = [pb.PutInputResult(call_id=item.call_id) for item in request.items]
        return pb.PutInputsResponse(results=results)

    def GetInputs(self, request: Any, context: Any) -> Any:
        """Too large, always."""
        self._arrive("GetInputs", len(request.call_ids), context)
        results = [
            pb.GetInputResult(call_id=call_id, size_bytes=5 << 20) for call_id in request.call_ids
        ]
        return pb.GetInputsResponse(results=results)

    def GetServerInfo(self, request: Any, context: Any) -> Any:
        self._arrive("GetServerInfo", 1, context)
        return pb.GetServerInfoResponse()

    def Upload(self, requests: Any, context: Any) -> Any:
        self._arrive("Upload", 1, context)
        collections.deque(requests, maxlen=0)
        return pb.UploadResponse()

    def QueryUpload(self, request: Any, context: Any) -> Any:
        self._arrive("QueryUpload", 1, context)
        return pb.QueryUploadResponse()

    def Download(self, request: Any, context: Any) -> Iterator[Any]:
        self._fail(context)
        for count, response in enumerate(self.download(request)):
            if self.overloads > 0 and count == 2:  # after a header and a segment
                self.overloads -= 1
                _overload(context)
            yield response


def _overload(context: Any) -> None:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    info = error_details_pb2.ErrorInfo(domain="mayfly", reason="OVERLOADED")
    status = status_pb2.Status(code=code.value[0], message="no room")
    status.details.add(
        type_url="type.googleapis.com/google.rpc.ErrorInfo", value=info.SerializeToString()
    )
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, status.message)
