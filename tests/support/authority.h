// An Authority is a CA for tests that issues certificates in memory, without a program.
//
//   const Authority authority;
//   const Issued client = authority.Issue({.name = "client", .until = absl::Now() + ...});
#pragma once

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace mayfly {

// In PEM.
struct Issued {
  std::string certificate;
  std::string key;
};

struct IssueOptions {
  std::string name = "test";
  // In the notation of openssl; empty: none.
  std::string alternative_names = "DNS:localhost,IP:127.0.0.1";
  absl::Time from = absl::Now() - absl::Hours(1);
  absl::Time until = absl::Now() + absl::Hours(1);
};

class Authority {
 public:
  explicit Authority(const std::string& name = "test CA");
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  Issued Issue(const IssueOptions& options) const;
  // Its own certificate and key.
  const Issued& own() const { return own_; }

 private:
  struct Parts;

  std::unique_ptr<Parts> parts_;
  Issued own_;
};

}  // namespace mayfly
