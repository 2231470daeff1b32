#include "nats_queue.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include <nats/nats.h>

namespace mayfly::peers {
namespace {

constexpr char kStream[] = "CALLS";
constexpr char kSubject[] = "calls";
constexpr char kConsumer[] = "taker";
constexpr int64_t kWaitMs = 10'000;
// A put's number stands at the head of its payload, so that a take knows what it must be.
constexpr size_t kNumberBytes = sizeof(uint64_t);

template <auto kDestroy>
struct Destroy {
  template <typename T>
  void operator()(T* object) const {
    kDestroy(object);
  }
};
using Options = std::unique_ptr<natsOptions, Destroy<natsOptions_Destroy>>;
using Connection = std::unique_ptr<natsConnection, Destroy<natsConnection_Destroy>>;
using JetStream = std::unique_ptr<jsCtx, Destroy<jsCtx_Destroy>>;
using Subscription = std::unique_ptr<natsSubscription, Destroy<natsSubscription_Destroy>>;

void Require(natsStatus status, absl::string_view what, jsErrCode error = jsErrCode{}) {
  if (status == NATS_OK) return;
  const char* const detail = nats_GetLastError(nullptr);
  Die(absl::StrCat("nats: ", what, ": ", natsStatus_GetText(status), ", ",
                   detail != nullptr ? detail : "", " (code ", static_cast<int>(error), ")"));
}

struct Session {
  Connection connection;
  JetStream jet_stream;
};

void DieOfPut(jsCtx*, jsPubAckErr* error, void*) {
  Die(absl::StrCat("nats: a put failed: ", error->ErrText != nullptr ? error->ErrText : ""));
}

Session Connect(const NatsTarget& target, int64_t puts_pending_max) {
  const std::string directory = target.certificate_directory;
  natsOptions* made_options = nullptr;
  Require(natsOptions_Create(&made_options), "options");
  const Options options(made_options);
  Require(natsOptions_SetURL(options.get(), absl::StrCat("tls://localhost:", target.port).c_str()),
          "the address");
  Require(natsOptions_SetSecure(options.get(), true), "TLS");
  Require(natsOptions_LoadCATrustedCertificates(options.get(), (directory + "/ca.pem").c_str()),
          "ca.pem");
  Require(natsOptions_LoadCertificatesChain(options.get(), (directory + "/client.pem").c_str(),
                                            (directory + "/client.key").c_str()),
          "client.pem");
  natsConnection* connection = nullptr;
  Require(natsConnection_Connect(&connection, options.get()), "connect");
  Session session = {.connection = Connection(connection), .jet_stream = nullptr};
  jsOptions js_options;
  jsOptions_Init(&js_options);
  js_options.Wait = kWaitMs;
  js_options.PublishAsync.MaxPending = puts_pending_max;
  js_options.PublishAsync.StallWait = kWaitMs;
  js_options.PublishAsync.ErrHandler = DieOfPut;
  jsCtx* jet_stream = nullptr;
  Require(natsConnection_JetStream(&jet_stream, connection, &js_options), "JetStream");
  session.jet_stream.reset(jet_stream);
  return session;
}

void MakeStream(jsCtx* jet_stream) {
  jsErrCode error{};
  js_DeleteStream(jet_stream, kStream, nullptr, &error);  // of an earlier run, if there is one
  jsStreamConfig config;
  jsStreamConfig_Init(&config);
  const char* subject = kSubject;
  config.Name = kStream;
  config.Subjects = &subject;
  config.SubjectsLen = 1;
  config.Retention = js_WorkQueuePolicy;
  config.Storage = js_FileStorage;
  Require(js_AddStream(nullptr, jet_stream, &config, nullptr, &error), "the stream", error);
  jsConsumerConfig consumer;
  jsConsumerConfig_Init(&consumer);
  consumer.Durable = kConsumer;
  consumer.AckPolicy = js_AckExplicit;
  consumer.MaxAckPending = -1;
  Require(js_AddConsumer(nullptr, jet_stream, kStream, &consumer, nullptr, &error), "the consumer",
          error);
}

uint64_t MessagesLeft(jsCtx* jet_stream) {
  jsStreamInfo* info = nullptr;
  jsErrCode error{};
  Require(js_GetStreamInfo(&info, jet_stream, kStream, nullptr, &error), "the stream", error);
  const uint64_t left = info->State.Msgs;
  jsStreamInfo_Destroy(info);
  return left;
}

void Put(jsCtx* jet_stream, const PayloadPool& pool, uint32_t item_count) {
  std::string payload;
  for (uint64_t number = 0; number < item_count; ++number) {
    const absl::string_view data = pool.Input(number);
    payload.assign(data.data(), data.size());
    memcpy(payload.data(), &number, kNumberBytes);
    Require(js_PublishAsync(jet_stream, kSubject, payload.data(), static_cast<int>(payload.size()),
                            nullptr),
            "put");
  }
  Require(js_PublishAsyncComplete(jet_stream, nullptr), "put");
}

void Check(natsMsg* message, const PayloadPool& pool) {
  const absl::string_view data(natsMsg_GetData(message),
                               static_cast<size_t>(natsMsg_GetDataLength(message)));
  uint64_t number = 0;
  if (data.size() < kNumberBytes) Die("nats: a message without a number");
  memcpy(&number, data.data(), kNumberBytes);
  CheckEqual("nats fetch", data.substr(kNumberBytes), pool.Input(number).substr(kNumberBytes));
}

// One lane's share of the takes. `left` is what nobody has asked for yet.
void Take(const NatsTarget& target, const PayloadPool& pool, int batch,
          std::atomic<int64_t>* left) {
  const Session session = Connect(target, 1);
  jsErrCode error{};
  jsSubOptions options;
  jsSubOptions_Init(&options);
  options.Stream = kStream;
  options.Consumer = kConsumer;
  natsSubscription* made = nullptr;
  Require(js_PullSubscribe(&made, session.jet_stream.get(), kSubject, kConsumer, nullptr, &options,
                           &error),
          "subscribe", error);
  const Subscription subscription(made);
  while (left->fetch_sub(batch) > 0) {
    for (int taken = 0; taken < batch;) {
      natsMsgList list{};
      Require(natsSubscription_Fetch(&list, subscription.get(), batch - taken, kWaitMs, &error),
              "fetch", error);
      for (int i = 0; i < list.Count; ++i) {
        Check(list.Msgs[i], pool);
        const bool is_last = i + 1 == list.Count;
        Require(is_last ? natsMsg_AckSync(list.Msgs[i], nullptr, &error)
                        : natsMsg_Ack(list.Msgs[i], nullptr),
                "ack", error);
      }
      taken += list.Count;
      natsMsgList_Destroy(&list);
    }
  }
}

}  // namespace

nlohmann::json RunNatsQueue(const NatsTarget& target, const Workload& workload,
                            uint32_t item_count) {
  if (workload.payload_bytes < kNumberBytes) Die("nats: a payload must be 8 bytes or more");
  const PayloadPool pool(workload.payload_bytes);
  item_count -= item_count % workload.batch_calls;
  const Session session = Connect(target, int64_t{workload.batch_calls} * workload.lanes);
  MakeStream(session.jet_stream.get());

  int64_t begun_ns = NowNs();
  Put(session.jet_stream.get(), pool, item_count);
  const double puts_per_s = item_count * 1e9 / static_cast<double>(NowNs() - begun_ns);

  std::atomic<int64_t> left = item_count;
  begun_ns = NowNs();
  std::vector<std::thread> takers;
  for (uint32_t i = 0; i < workload.lanes; ++i) {
    takers.emplace_back([&] { Take(target, pool, static_cast<int>(workload.batch_calls), &left); });
  }
  for (std::thread& taker : takers) taker.join();
  const int64_t ended_ns = NowNs();
  if (const uint64_t rest = MessagesLeft(session.jet_stream.get()); rest != 0) {
    Die(absl::StrCat("nats: ", rest, " messages are still there after their acks"));
  }
  jsErrCode error{};
  Require(js_DeleteStream(session.jet_stream.get(), kStream, nullptr, &error), "delete", error);
  return {{"payload_bytes", workload.payload_bytes},
          {"batch_calls", workload.batch_calls},
          {"lanes", workload.lanes},
          {"items", item_count},
          {"errors", 0},
          {"puts_per_s", puts_per_s},
          {"takes_per_s", item_count * 1e9 / static_cast<double>(ended_ns - begun_ns)}};
}

}  // namespace mayfly::peers
