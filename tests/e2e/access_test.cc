// Access control: every role with every RPC, certificates without a valid identity, and tenants
// that must not be able to distinguish each other's calls from calls that never existed.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include <gtest/gtest.h>

#include "base/version.h"
#include "e2e/subscription_call.h"
#include "e2e/test_client.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

class Access : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new TestServer();
    server_->Start();
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(server_->Stop(), 0) << server_->Log();
    delete server_;
  }

  static TestServer* server_;
};

TestServer* Access::server_ = nullptr;

std::string Text(const google::rpc::Status& status) {
  return Summary(status) + ": " + status.message();
}
std::string Text(const grpc::Status& status) {
  return Summary(status) + ": " + status.error_message();
}

// How a stream ends whose only message is `request`.
template <typename Stream, typename Request>
std::string AskStream(Stream stream, const Request& request) {
  stream->Write(request);
  stream->WritesDone();
  return Text(stream->Finish());
}
template <typename Response, typename Stream, typename Request>
std::string AskBidiStream(Stream stream, const Request& request) {
  stream->Write(request);
  stream->WritesDone();
  Response response;
  while (stream->Read(&response)) {
  }
  return Text(stream->Finish());
}

std::string DownloadAnswer(TestClient* reader, const v1::DownloadRequest& request) {
  grpc::ClientContext context;
  const auto stream = reader->stub()->Download(&context, request);
  v1::DownloadResponse response;
  while (stream->Read(&response)) {
  }
  return Text(stream->Finish());
}

// The same for the RPCs that stream.
void AskStreams(TestClient* client, TestClient* worker, const std::string& call_id,
                const std::string& token, uint64_t fence,
                std::map<std::string, std::string>* answers) {
  {
    grpc::ClientContext context;
    v1::UploadRequest request;
    request.mutable_header()->set_upload_id(NewClaimToken());
    request.mutable_header()->mutable_output()->set_call_id(call_id);
    v1::UploadResponse response;
    (*answers)["Upload"] = AskStream(worker->stub()->Upload(&context, &response), request);
  }
  {
    v1::DownloadRequest request;
    request.set_call_id(call_id);
    request.set_kind(v1::PAYLOAD_KIND_INPUT);
    (*answers)["Download of an input"] = DownloadAnswer(worker, request);
    request.set_kind(v1::PAYLOAD_KIND_OUTPUT);
    request.set_claim_token(token);
    request.set_fence(fence);
    (*answers)["Download of an output"] = DownloadAnswer(client, request);
  }
  {
    grpc::ClientContext context;
    const auto stream = client->stub()->Session(&context);
    v1::SessionRequest message;
    v1::SubscriptionRequest* const subscription = message.add_subscriptions();
    subscription->mutable_open()->set_claim_token(token);
    subscription->add_subscribe_call_ids(call_id);
    stream->Write(message);
    v1::SessionResponse response;
    ASSERT_TRUE(stream->Read(&response));
    ASSERT_EQ(response.subscriptions_size(), 1);
    ASSERT_EQ(response.subscriptions(0).outputs_size(), 0);
    ASSERT_EQ(response.subscriptions(0).ended_size(), 1);
    (*answers)["Subscribe"] = Text(response.subscriptions(0).ended(0).status());
    context.TryCancel();
    stream->Finish();
  }
  {
    grpc::ClientContext context;
    const auto stream = worker->stub()->Session(&context);
    v1::SessionRequest message;
    v1::OutputItem* const item = message.add_requests()->mutable_put_outputs()->add_items();
    item->set_call_id(call_id);
    item->mutable_payload();
    stream->Write(message);
    v1::SessionResponse response;
    ASSERT_TRUE(stream->Read(&response));
    (*answers)["Session"] = Text(response.responses(0).put_outputs().results(0).status());
    context.TryCancel();
    stream->Finish();
  }
}

// The answer of each RPC about one call id, code and text, by the name of the RPC.
std::map<std::string, std::string> AskEverything(TestClient* client, TestClient* worker,
                                                 const std::string& call_id,
                                                 const std::string& token, uint64_t fence) {
  using Stub = v1::FunctionIo::Stub;
  std::map<std::string, std::string> answers;
  AskStreams(client, worker, call_id, token, fence, &answers);
  {
    v1::GetInputsRequest request;
    request.add_call_ids(call_id);
    v1::GetInputsResponse response;
    EXPECT_TRUE(worker->Call(&Stub::GetInputs, request, &response).ok());
    answers["GetInputs"] = Text(response.results(0).status());
  }
  {
    v1::PutOutputsRequest request;
    request.add_items()->set_call_id(call_id);
    request.mutable_items(0)->mutable_payload();
    v1::PutOutputsResponse response;
    EXPECT_TRUE(worker->Call(&Stub::PutOutputs, request, &response).ok());
    answers["PutOutputs"] = Text(response.results(0).status());
  }
  {
    v1::ClaimOutputsRequest request;
    request.add_call_ids(call_id);
    request.set_claim_token(token);
    v1::ClaimOutputsResponse response;
    EXPECT_TRUE(client->Call(&Stub::ClaimOutputs, request, &response).ok());
    EXPECT_EQ(response.outputs_size(), 0);
    EXPECT_EQ(response.pending_count(), 0u);
    answers["ClaimOutputs"] = response.ended_size() == 1 ? Text(response.ended(0).status()) : "";
  }
  {
    v1::AckOutputsRequest request;
    v1::AckItem* item = request.add_items();
    item->set_call_id(call_id);
    item->set_claim_token(token);
    item->set_fence(fence);
    v1::AckOutputsResponse response;
    EXPECT_TRUE(client->Call(&Stub::AckOutputs, request, &response).ok());
    answers["AckOutputs"] = Text(response.results(0).status());
    item->set_crc32c(7);
    EXPECT_TRUE(client->Call(&Stub::AckOutputs, request, &response).ok());
    answers["AckOutputs with crc32c"] = Text(response.results(0).status());
  }
  {
    v1::ReleaseOutputsRequest request;
    v1::ReleaseItem* item = request.add_items();
    item->set_call_id(call_id);
    item->set_claim_token(token);
    item->set_fence(fence);
    v1::ReleaseOutputsResponse response;
    EXPECT_TRUE(client->Call(&Stub::ReleaseOutputs, request, &response).ok());
    answers["ReleaseOutputs"] = Text(response.results(0).status());
  }
  {
    v1::RenewClaimsRequest request;
    v1::RenewItem* item = request.add_items();
    item->set_call_id(call_id);
    item->set_claim_token(token);
    item->set_fence(fence);
    v1::RenewClaimsResponse response;
    EXPECT_TRUE(client->Call(&Stub::RenewClaims, request, &response).ok());
    answers["RenewClaims"] = Text(response.results(0).status());
  }
  {
    v1::DeleteCallsRequest request;
    request.add_call_ids(call_id);
    v1::DeleteCallsResponse response;
    EXPECT_TRUE(client->Call(&Stub::DeleteCalls, request, &response).ok());
    answers["DeleteCalls"] = Text(response.results(0).status());
  }
  v1::CallDescription description = client->Describe(call_id);
  description.clear_call_id();
  answers["DescribeCalls"] = description.ShortDebugString();
  return answers;
}

TEST_F(Access, AnotherTenantsCallLooksLikeOneThatNeverWas) {
  TestClient client(server_->Channel("client"));
  TestClient worker(server_->Channel("worker"));
  TestClient other_client(server_->Channel("other-client"));
  TestClient other_worker(server_->Channel("other-worker"));

  // One of this tenant's calls in every state there is.
  const std::string token = NewClaimToken();
  std::map<std::string, std::string> calls;
  for (const char* const state : {"pending", "ready", "claimed", "consumed", "deleted"}) {
    calls[state] = NewCallId();
    ASSERT_EQ(client.PutInput(calls[state], "secret"), "OK");
  }
  std::map<std::string, v1::ClaimedOutput> outputs;
  std::string ended;
  for (const char* const state : {"ready", "claimed", "consumed"}) {
    ASSERT_EQ(worker.PutOutput(calls[state], "secret"), "OK");
  }
  for (const char* const state : {"claimed", "consumed"}) {
    ASSERT_EQ(client.Claim(calls[state], token, &outputs[state], &ended), "OK");
  }
  ASSERT_EQ(client.Ack(calls["consumed"], token, outputs["consumed"].fence()), "OK");
  ASSERT_EQ(client.Delete(calls["deleted"]), "OK");

  const auto never =
      AskEverything(&other_client, &other_worker, NewCallId(), token, outputs["claimed"].fence());
  for (const auto& [rpc, answer] : never) {
    if (rpc == "DescribeCalls") {
      EXPECT_EQ(answer, "status { } state: CALL_STATE_UNKNOWN");
    } else {
      EXPECT_EQ(answer.substr(0, answer.find(':')), "NOT_FOUND CALL_UNKNOWN") << rpc;
    }
  }
  for (const auto& [state, call_id] : calls) {
    // The claim's own token and fence, as if they had leaked.
    EXPECT_EQ(AskEverything(&other_client, &other_worker, call_id, token, outputs[state].fence()),
              never)
        << state;
  }
  EXPECT_EQ(client.Describe(calls["pending"]).state(), v1::CALL_STATE_PENDING);
  EXPECT_EQ(client.Describe(calls["ready"]).state(), v1::CALL_STATE_READY);
  EXPECT_EQ(client.Ack(calls["claimed"], token, outputs["claimed"].fence()), "OK");
}

TEST_F(Access, TwoTenantsWithTheSameIdHaveTwoCalls) {
  TestClient client(server_->Channel("client"));
  TestClient worker(server_->Channel("worker"));
  TestClient other_client(server_->Channel("other-client"));
  TestClient other_worker(server_->Channel("other-worker"));
  const std::string call_id = NewCallId();
  EXPECT_EQ(client.PutInput(call_id, "mine"), "OK");
  EXPECT_EQ(other_client.PutInput(call_id, "theirs"), "OK");  // not CALL_CONFLICT
  std::string input;
  EXPECT_EQ(worker.GetInput(call_id, &input), "OK");
  EXPECT_EQ(input, "mine");
  EXPECT_EQ(other_worker.GetInput(call_id, &input), "OK");
  EXPECT_EQ(input, "theirs");
  EXPECT_EQ(other_client.Delete(call_id), "OK");
  EXPECT_EQ(client.Describe(call_id).state(), v1::CALL_STATE_PENDING);
}

TEST_F(Access, EveryRoleMayCallWhatTheContractSaysAndNothingElse) {
  using Stub = v1::FunctionIo::Stub;
  constexpr size_t kStreamingRpcs = 4;  // with QueryUpload: the next test's
  const auto* const service =
      v1::PutInputsRequest::descriptor()->file()->FindServiceByName("FunctionIo");
  const std::map<std::string, std::set<std::string>> allowed = {
      {"PutInputs", {"client"}},   {"GetInputs", {"worker"}},
      {"PutOutputs", {"worker"}},  {"ClaimOutputs", {"client"}},
      {"AckOutputs", {"client"}},  {"ReleaseOutputs", {"client"}},
      {"RenewClaims", {"client"}}, {"DescribeCalls", {"client", "worker", "operator"}},
      {"DeleteCalls", {"client"}}, {"GetServerInfo", {"client", "worker", "operator", "monitor"}},
  };
  for (const std::string role : {"client", "worker", "operator", "monitor"}) {
    TestClient caller(server_->Channel(role));
    // An empty batch is refused, but only after the role was found to be right.
    const auto ask = [&](auto rpc, auto request, auto response) {
      return Summary(caller.Call(rpc, request, &response));
    };
    const std::map<std::string, std::string> answers = {
        {"PutInputs", ask(&Stub::PutInputs, v1::PutInputsRequest(), v1::PutInputsResponse())},
        {"GetInputs", ask(&Stub::GetInputs, v1::GetInputsRequest(), v1::GetInputsResponse())},
        {"PutOutputs", ask(&Stub::PutOutputs, v1::PutOutputsRequest(), v1::PutOutputsResponse())},
        {"ClaimOutputs",
         ask(&Stub::ClaimOutputs, v1::ClaimOutputsRequest(), v1::ClaimOutputsResponse())},
        {"AckOutputs", ask(&Stub::AckOutputs, v1::AckOutputsRequest(), v1::AckOutputsResponse())},
        {"ReleaseOutputs",
         ask(&Stub::ReleaseOutputs, v1::ReleaseOutputsRequest(), v1::ReleaseOutputsResponse())},
        {"RenewClaims",
         ask(&Stub::RenewClaims, v1::RenewClaimsRequest(), v1::RenewClaimsResponse())},
        {"DescribeCalls",
         ask(&Stub::DescribeCalls, v1::DescribeCallsRequest(), v1::DescribeCallsResponse())},
        {"DeleteCalls",
         ask(&Stub::DeleteCalls, v1::DeleteCallsRequest(), v1::DeleteCallsResponse())},
        {"GetServerInfo",
         ask(&Stub::GetServerInfo, v1::GetServerInfoRequest(), v1::GetServerInfoResponse())},
    };
    ASSERT_EQ(answers.size() + kStreamingRpcs, static_cast<size_t>(service->method_count()));
    for (const auto& [rpc, answer] : answers) {
      const std::string if_allowed =
          rpc == "GetServerInfo" ? "OK" : "INVALID_ARGUMENT FIELD_INVALID";
      EXPECT_EQ(answer,
                allowed.at(rpc).count(role) ? if_allowed : "PERMISSION_DENIED ROLE_REQUIRED")
          << role << " " << rpc;
    }
  }
}

TEST_F(Access, ARefusalNamesTheRoleThatMay) {
  TestClient worker(server_->Channel("worker"));
  v1::ClaimOutputsResponse response;
  const grpc::Status status =
      worker.Call(&v1::FunctionIo::Stub::ClaimOutputs, v1::ClaimOutputsRequest(), &response);
  EXPECT_EQ(status.error_message(),
            "role worker may not call ClaimOutputs; a certificate with the role client may");
}

TEST_F(Access, EveryCallerLearnsWhoItIsAndWhatItsLimitsAre) {
  for (const std::string role : {"client", "monitor"}) {
    TestClient caller(server_->Channel(role));
    const absl::Time before = absl::Now();
    v1::GetServerInfoResponse info;
    ASSERT_EQ(Summary(caller.Call(&v1::FunctionIo::Stub::GetServerInfo, v1::GetServerInfoRequest(),
                                  &info)),
              "OK");
    EXPECT_EQ(info.version(), kVersion);
    EXPECT_EQ(info.role(), role);
    EXPECT_FALSE(info.tenant().empty());
    EXPECT_LT(absl::AbsDuration(TimeOf(info.server_time()) - before), absl::Minutes(5));
    // The defaults of mayfly.toml.
    EXPECT_EQ(info.limits().id_window().seconds(), 300);
    EXPECT_EQ(info.limits().max_ttl().seconds(), 24 * 3600);
    EXPECT_EQ(info.limits().batch_items_max(), 512u);
    EXPECT_EQ(info.limits().payload_bytes_max(), uint64_t{1} << 30);
    EXPECT_EQ(info.limits().claims_max(), 10'000u);
    EXPECT_EQ(info.limits().live_calls_max(), 0u);
  }
}

// By what it is about: clients put inputs and read outputs, workers the other way round.
TEST_F(Access, RpcsThatStreamAskForTheRoleOfTheKind) {
  TestClient client(server_->Channel("client"));
  for (const std::string role : {"client", "worker", "operator", "monitor"}) {
    const bool is_client = role == "client";
    const bool is_worker = role == "worker";
    TestClient caller(server_->Channel(role));
    const std::string call_id = NewCallId();
    ASSERT_EQ(client.PutInput(call_id, "in"), "OK");
    const auto expect = [&](const char* what, bool is_allowed, const std::string& answer) {
      const bool was_refused = answer.starts_with("PERMISSION_DENIED ROLE_REQUIRED");
      EXPECT_EQ(was_refused, !is_allowed) << role << " " << what << ": " << answer;
    };
    for (const bool is_input : {true, false}) {
      const bool puts = is_input ? is_client : is_worker;
      grpc::ClientContext upload_context;
      v1::UploadRequest upload;
      upload.mutable_header()->set_upload_id(NewClaimToken());
      if (is_input) {
        upload.mutable_header()->mutable_input()->set_call_id(NewCallId());
      } else {
        upload.mutable_header()->mutable_output()->set_call_id(call_id);
      }
      v1::UploadResponse uploaded;
      expect("Upload", puts, AskStream(caller.stub()->Upload(&upload_context, &uploaded), upload));

      v1::DownloadRequest download;
      download.set_call_id(call_id);
      download.set_kind(is_input ? v1::PAYLOAD_KIND_INPUT : v1::PAYLOAD_KIND_OUTPUT);
      download.set_claim_token(NewClaimToken());
      expect("Download", is_input ? is_worker : is_client, DownloadAnswer(&caller, download));
    }
    v1::QueryUploadRequest query;
    query.set_upload_id(NewClaimToken());
    v1::QueryUploadResponse progress;
    expect("QueryUpload", is_client || is_worker,
           Summary(caller.Call(&v1::FunctionIo::Stub::QueryUpload, query, &progress)));
    if (role != "monitor") {
      SubscriptionCall subscription(&caller);
      subscription.Write(SubscriptionCall::Opening());
      subscription.HalfClose();
      expect("Subscribe", is_client, Text(subscription.NextEnd()));
    }
    grpc::ClientContext session_context;
    v1::SessionRequest message;
    message.add_requests()->mutable_describe_calls()->add_call_ids(call_id);
    expect("Session", role != "monitor",
           AskBidiStream<v1::SessionResponse>(caller.stub()->Session(&session_context), message));
  }
}

TEST_F(Access, AnotherTenantsUploadLooksLikeOneThatNeverWas) {
  TestClient client(server_->Channel("client"));
  TestClient other(server_->Channel("other-client"));
  grpc::ClientContext context;
  v1::UploadResponse uploaded;
  const auto stream = client.stub()->Upload(&context, &uploaded);
  v1::UploadRequest request;
  const std::string upload_id = NewClaimToken();
  request.mutable_header()->set_upload_id(upload_id);
  request.mutable_header()->mutable_input()->set_call_id(NewCallId());
  ASSERT_TRUE(stream->Write(request));
  const auto query = [](TestClient* caller, const std::string& id) {
    v1::QueryUploadRequest asked;
    asked.set_upload_id(id);
    v1::QueryUploadResponse progress;
    return Text(caller->Call(&v1::FunctionIo::Stub::QueryUpload, asked, &progress));
  };
  // Its header may still be on its way.
  while (query(&client, upload_id).starts_with("NOT_FOUND")) {
  }
  EXPECT_EQ(query(&other, upload_id), query(&other, NewClaimToken()));
  context.TryCancel();
  stream->Finish();
}

TEST_F(Access, AVerifiedCertificateThatNamesNobodyIsRefused) {
  const std::map<std::string, std::string> certificates = {
      {"no-names", ""},
      {"no-uri", "DNS:localhost"},
      {"two-uris",
       "URI:spiffe://mayfly.local/tenant/default/client,"
       "URI:spiffe://mayfly.local/tenant/other/client"},
      {"the-same-uri-twice",
       "URI:spiffe://mayfly.local/tenant/default/client,"
       "URI:spiffe://mayfly.local/tenant/default/client"},
      {"other-domain", "URI:spiffe://elsewhere/tenant/default/client"},
      {"domain-prefix", "URI:spiffe://mayfly.local.evil/tenant/default/client"},
      {"other-scheme", "URI:https://mayfly.local/tenant/default/client"},
      {"other-role", "URI:spiffe://mayfly.local/tenant/default/root"},
      {"other-path", "URI:spiffe://mayfly.local/tenants/default/client"},
      {"bad-tenant", "URI:spiffe://mayfly.local/tenant/Default/client"},
  };
  for (const auto& [name, alternative_names] : certificates) {
    server_->MakeCertificate(name, alternative_names);
    TestClient caller(server_->Channel(name));
    EXPECT_EQ(caller.PutInput(NewCallId(), "question"), "UNAUTHENTICATED IDENTITY_INVALID") << name;
  }
}

TEST_F(Access, AUriBesideADnsNameIsAnIdentity) {
  server_->MakeCertificate("with-dns", "DNS:c.local,URI:spiffe://mayfly.local/tenant/t-1/client");
  TestClient caller(server_->Channel("with-dns"));
  EXPECT_EQ(caller.PutInput(NewCallId(), "question"), "OK");
}

}  // namespace
}  // namespace mayfly
