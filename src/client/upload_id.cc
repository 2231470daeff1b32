#include "client/upload_id.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <openssl/evp.h>

#include "base/check.h"

namespace mayfly::client {
namespace {

constexpr size_t kUploadIdBytes = 16;

// Labels are a map, whose order differs from process to process otherwise.
std::string DeterministicText(const google::protobuf::Message& message) {
  std::string text;
  {
    google::protobuf::io::StringOutputStream stream(&text);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    Check(message.SerializeToCodedStream(&coded), "a message can be serialized");
  }
  return text;
}

}  // namespace

std::string UploadIdOf(const v1::UploadHeader& header) {
  v1::UploadHeader about = header;
  about.clear_upload_id();
  about.clear_offset_bytes();
  const std::string text = DeterministicText(about);
  unsigned char digest[EVP_MAX_MD_SIZE];
  Check(EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_sha256(), nullptr) == 1,
        "a digest can be computed");
  return std::string(reinterpret_cast<const char*>(digest), kUploadIdBytes);
}

}  // namespace mayfly::client
