// The module mayfly._native: channels for mayfly.native and mayfly.aio.native.
//
// An answer is the bytes of a response, or of an error the tuple (code, message, details), where
// details are a serialized google.rpc.Status or empty.
#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <cxxabi.h>
#include <memory>
#include <string>
#include <unistd.h>
#include <utility>

#include "absl/synchronization/mutex.h"
#include <pybind11/pybind11.h>

#include "python_native/blocking_request.h"
#include "python_native/channel.h"
#include "python_native/mailbox.h"
#include "python_native/wire.h"

namespace py = pybind11;

namespace mayfly::python {
namespace {

timespec MonotonicAfter(double seconds) {
  constexpr long kNanoseconds = 1'000'000'000;
  constexpr double kLongest = 365 * 24 * 3600;
  seconds = std::min(std::max(seconds, 0.0), kLongest);
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  time.tv_sec += static_cast<time_t>(seconds);
  time.tv_nsec += static_cast<long>((seconds - static_cast<double>(static_cast<time_t>(seconds))) *
                                    static_cast<double>(kNanoseconds));
  if (time.tv_nsec >= kNanoseconds) {
    time.tv_nsec -= kNanoseconds;
    ++time.tv_sec;
  }
  return time;
}

// Runs `work` without the interpreter's lock. When the interpreter ends meanwhile, taking the lock
// again ends the thread by unwinding its stack. Here it sleeps for the rest of the process instead:
// the destructors on the stack need the lock, and pybind11's do not let an unwinding through.
template <typename Work>
void WithoutLock(Work work) {
  PyThreadState* const state = PyEval_SaveThread();
  work();
  try {
    PyEval_RestoreThread(state);
  } catch (const abi::__forced_unwind&) {
    while (true) pause();
  }
}

absl::string_view TextOf(const py::bytes& bytes) {
  return {PyBytes_AS_STRING(bytes.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr()))};
}

py::object ToPython(const Answer& answer) {
  if (answer.code == 0) {
    return py::bytes(reinterpret_cast<const char*>(answer.response.begin()),
                     answer.response.size());
  }
  PyObject* const message = PyUnicode_DecodeUTF8(
      answer.message.data(), static_cast<Py_ssize_t>(answer.message.size()), "replace");
  if (message == nullptr) throw py::error_already_set();
  return py::make_tuple(answer.code, py::reinterpret_steal<py::str>(message),
                        py::bytes(answer.details));
}

std::shared_ptr<Channel> OpenChannel(const std::string& target, const std::string& ca,
                                     const std::string& key, const std::string& certificate,
                                     const std::string& server_name, double keepalive_time,
                                     double keepalive_timeout, double reconnect_pause_max) {
  return std::make_shared<Channel>(
      ChannelOptions{.target = target,
                     .ca = ca,
                     .key = key,
                     .certificate = certificate,
                     .server_name = server_name,
                     .keepalive_time = absl::Seconds(keepalive_time),
                     .keepalive_timeout = absl::Seconds(keepalive_timeout),
                     .reconnect_pause_max = absl::Seconds(reconnect_pause_max)});
}

// A request that a thread has sent and will wait for.
class ThreadRequest {
 public:
  ThreadRequest(std::shared_ptr<Channel> channel, int method, py::bytes message)
      : channel_(std::move(channel)),
        request_(std::make_shared<BlockingRequest>(method)),
        message_(std::move(message)) {}
  // Nobody has waited for it: something was raised before.
  ~ThreadRequest() {
    if (!is_over_) Abandon();
  }
  ThreadRequest(const ThreadRequest&) = delete;
  ThreadRequest& operator=(const ThreadRequest&) = delete;

  // Without the interpreter's lock.
  void Send() { channel_->Send(request_, TextOf(message_)); }

  // Once. Returns the answer, which is DEADLINE_EXCEEDED when none has come in time.
  py::object Wait(double timeout, bool is_sent) {
    is_over_ = true;
    const timespec end = MonotonicAfter(timeout);
    while (true) {
      BlockingRequest::Wait wait;
      bool is_late = false;
      WithoutLock([&] {
        if (!is_sent) Send();
        is_sent = true;
        wait = channel_->Await(request_.get(), end);
        is_late = wait == BlockingRequest::Wait::kTimedOut && Withdraw();
      });
      if (is_late) return py::make_tuple(4, "Deadline Exceeded", py::bytes());  // as gRPC says it
      if (wait != BlockingRequest::Wait::kInterrupted) return ToPython(request_->answer());
      if (PyErr_CheckSignals() == 0) continue;
      Abandon();
      throw py::error_already_set();
    }
  }

 private:
  bool Withdraw() { return channel_->Abandon(request_.get(), TextOf(message_)); }
  // Claims that the answer has brought already are given back too.
  void Abandon() {
    if (Withdraw() || request_->method() != kClaimOutputs) return;
    channel_->ReleaseClaims(TextOf(message_), request_->answer());
  }

  const std::shared_ptr<Channel> channel_;
  const std::shared_ptr<BlockingRequest> request_;
  const py::bytes message_;
  bool is_over_ = false;
};

py::object Call(const std::shared_ptr<Channel>& channel, int method, const py::bytes& message,
                double timeout) {
  return ThreadRequest(channel, method, message).Wait(timeout, false);
}

std::unique_ptr<ThreadRequest> Begin(const std::shared_ptr<Channel>& channel, int method,
                                     const py::bytes& message) {
  auto request = std::make_unique<ThreadRequest>(channel, method, message);
  WithoutLock([&] { request->Send(); });
  return request;
}

class LoopRequest {
 public:
  LoopRequest(std::shared_ptr<Channel> channel, std::shared_ptr<MailedRequest> request,
              py::bytes message)
      : channel_(std::move(channel)), request_(std::move(request)), message_(std::move(message)) {}

  // Claims that the answer has brought already are given back too: the loop has not seen it.
  void Abandon() {
    if (channel_->Abandon(request_.get(), TextOf(message_))) return;
    if (request_->method() == kClaimOutputs) {
      channel_->ReleaseClaims(TextOf(message_), request_->answer());
    }
  }

 private:
  const std::shared_ptr<Channel> channel_;
  const std::shared_ptr<MailedRequest> request_;
  const py::bytes message_;
};

// glibc gives the top of the heap back to the system whenever more than 128 KiB of it are free, which
// made page faults a fifth of what a batch costs. It raises that limit, here to 8 MiB, when a block is
// freed that it had mapped, because a program that has used one will use others.
void KeepFreedMemory() {
  constexpr size_t kBlockBytes = 4 << 20;
  void* volatile block = malloc(kBlockBytes);  // volatile: so that it is not left out
  free(block);
}

LoopRequest Start(const std::shared_ptr<Channel>& channel, int method, const py::bytes& message,
                  const std::shared_ptr<Mailbox>& mailbox, uint64_t key) {
  const auto request = std::make_shared<MailedRequest>(method, key, mailbox);
  WithoutLock([&] { channel->SendWatched(request, TextOf(message)); });
  return LoopRequest(channel, request, message);
}

py::list TakeAll(Mailbox& mailbox) {
  py::list found;
  for (const Mailbox::Letter& letter : mailbox.TakeAll()) {
    found.append(py::make_tuple(letter.key, ToPython(letter.request->answer())));
  }
  return found;
}

}  // namespace

// Local to this module: the child of a fork loads a copy of it, with types of its own.
PYBIND11_MODULE(_native, module) {
  // Deadlock detection, which Abseil has in Debian, takes another lock at every lock.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  KeepFreedMemory();
  py::class_<Channel, std::shared_ptr<Channel>>(module, "Channel", py::module_local())
      .def(py::init(&OpenChannel), py::kw_only(), py::arg("target"), py::arg("ca"), py::arg("key"),
           py::arg("cert"), py::arg("server_name"), py::arg("keepalive_time"),
           py::arg("keepalive_timeout"), py::arg("reconnect_pause_max"))
      .def("call", &Call)
      .def("begin", &Begin)
      .def("start", &Start)
      .def("close", [](Channel& channel) { WithoutLock([&] { channel.Close(); }); });
  py::class_<Mailbox, std::shared_ptr<Mailbox>>(module, "Mailbox", py::module_local())
      .def(py::init<>())
      .def_property_readonly("descriptor", &Mailbox::descriptor)
      .def("take_all", &TakeAll);
  py::class_<ThreadRequest>(module, "ThreadRequest", py::module_local())
      .def("wait",
           [](ThreadRequest& request, double timeout) { return request.Wait(timeout, true); });
  py::class_<LoopRequest>(module, "LoopRequest", py::module_local())
      .def("abandon", &LoopRequest::Abandon);
}

}  // namespace mayfly::python
