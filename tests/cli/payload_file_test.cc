#include "cli/payload_file.h"

#include <fcntl.h>
#include <string>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/scratch.h"
#include "support/sizes.h"

namespace mayfly::cli {
namespace {

using ::testing::HasSubstr;

// Up to `size` bytes from `offset` on, or the error.
std::string Read(client::PayloadSource* source, uint64_t offset, size_t size) {
  std::string buffer(size, '?');
  const absl::StatusOr<size_t> count = source->ReadAt(offset, buffer.data(), size);
  if (!count.ok()) return std::string(count.status().message());
  return buffer.substr(0, *count);
}

char ByteAt(uint64_t offset) { return static_cast<char>(offset / kMiB + offset % 251); }

std::string Bytes(uint64_t offset, size_t size) {
  std::string data(size, '\0');
  for (size_t i = 0; i < size; ++i) data[i] = ByteAt(offset + i);
  return data;
}

TEST(RegularPayloadFile, TellsItsSizeAndIsReadFromAnywhere) {
  const Scratch scratch;
  const auto source = OpenPayload(scratch.Write("file", "0123456789"), -1);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->SizeBytes(), 10);
  EXPECT_EQ(Read(source->get(), 7, 5), "789");
  EXPECT_EQ(Read(source->get(), 0, 5), "01234");
  EXPECT_EQ(Read(source->get(), 10, 5), "");
}

TEST(RegularPayloadFile, OnStdinBeginsWhereItIs) {
  const Scratch scratch;
  const int descriptor = open(scratch.Write("file", "0123456789").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(lseek(descriptor, 4, SEEK_SET), 4);
  {
    const auto source = OpenPayload("-", descriptor);
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_EQ((*source)->SizeBytes(), 6);
    EXPECT_EQ(Read(source->get(), 0, 3), "456");
  }
  EXPECT_EQ(close(descriptor), 0);  // it was not the source's to close
}

TEST(PayloadFile, SaysWhyItCannotBeRead) {
  EXPECT_THAT(std::string(OpenPayload("/nonexistent", -1).status().message()),
              HasSubstr("No such file"));
  EXPECT_THAT(std::string(OpenPayload("/", -1).status().message()), HasSubstr("Is a directory"));
  EXPECT_THAT(std::string(OpenPayload("-", -1).status().message()), HasSubstr("stdin is closed"));
}

class PipedPayload : public ::testing::Test {
 protected:
  // Comes in odd pieces, as through a pipe it does.
  void WriteInBackground(size_t size) {
    writer_ = std::thread([this, size] {
      for (size_t offset = 0; offset < size;) {
        const std::string piece = Bytes(offset, std::min<size_t>(size - offset, 77'777));
        const ssize_t count = write(ends_[1], piece.data(), piece.size());
        if (count <= 0) break;
        offset += static_cast<size_t>(count);
      }
      close(ends_[1]);
    });
  }

  void SetUp() override { ASSERT_EQ(pipe2(ends_, O_CLOEXEC), 0); }
  void TearDown() override {
    close(ends_[0]);
    if (writer_.joinable()) writer_.join();
  }

  int ends_[2] = {};
  std::thread writer_;
};

TEST_F(PipedPayload, ComesInWholePiecesOfUnknownNumber) {
  WriteInBackground(3 * kMiB + 5);
  const auto source = OpenPayload("-", ends_[0]);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->SizeBytes(), std::nullopt);
  for (uint64_t offset = 0; offset < 3 * kMiB; offset += kMiB) {
    EXPECT_TRUE(Read(source->get(), offset, kMiB) == Bytes(offset, kMiB));
  }
  EXPECT_TRUE(Read(source->get(), 3 * kMiB, kMiB) == Bytes(3 * kMiB, 5));
  EXPECT_EQ(Read(source->get(), 3 * kMiB + 5, kMiB), "");
}

TEST_F(PipedPayload, IsKeptForAsLongAsPromised) {
  constexpr size_t kSize = 50 * kMiB;
  WriteInBackground(kSize);
  const auto source = OpenPayload("-", ends_[0]);
  ASSERT_TRUE(source.ok()) << source.status();
  for (uint64_t offset = 0; offset < kSize; offset += kMiB) {
    EXPECT_TRUE(Read(source->get(), offset, kMiB) == Bytes(offset, kMiB));
    const uint64_t back = offset + kMiB < kPipeKeptBytes ? 0 : offset + kMiB - kPipeKeptBytes;
    EXPECT_TRUE(Read(source->get(), back, kMiB) == Bytes(back, kMiB)) << offset;
  }
  EXPECT_THAT(Read(source->get(), 0, kMiB), HasSubstr("cannot be read again from byte 0"));
}

}  // namespace
}  // namespace mayfly::cli
