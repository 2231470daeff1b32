#include "config/setting.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace mayfly {
namespace {

constexpr uint64_t kKiB = 1 << 10;
constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;
constexpr uint64_t kTiB = kGiB << 10;

constexpr std::array<std::pair<absl::string_view, uint64_t>, 5> kByteUnits = {
    {{"TiB", kTiB}, {"GiB", kGiB}, {"MiB", kMiB}, {"KiB", kKiB}, {"B", 1}}};

// Mayfly's promise: no payload lives longer than a day.
constexpr absl::Duration kDay = absl::Hours(24);

constexpr absl::string_view kDurabilities[] = {"sync", "relaxed"};
constexpr absl::string_view kLogLevels[] = {"trace",   "debug", "info",
                                            "warning", "error", "critical"};

// host:port, with an IPv6 host in brackets.
bool IsListenAddress(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos || colon == 0) return false;
  absl::string_view host = text.substr(0, colon);
  const absl::string_view port_text = text.substr(colon + 1);
  const bool digits = !port_text.empty() && port_text.size() <= 5 &&
                      std::all_of(port_text.begin(), port_text.end(), absl::ascii_isdigit);
  uint32_t port = 0;
  if (!digits || !absl::SimpleAtoi(port_text, &port) || port > 65535) return false;
  if (absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]")) {
    return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
      return absl::ascii_isxdigit(c) || c == ':' || c == '.';
    });
  }
  return std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
  });
}

// SPIFFE-ID, section 2.1.
bool IsTrustDomain(absl::string_view text) {
  return !text.empty() && text.size() <= 255 && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' || c == '-' || c == '_';
  });
}

// A name that cannot leave the credentials directory.
bool IsCredentialName(absl::string_view text) {
  return !text.empty() && text.size() <= 255 && text[0] != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
         });
}

template <auto Section, auto Member>
auto& In(Config& config) {
  return config.*Section.*Member;
}

template <auto Section, auto Member>
int GetChoice(const Config& config) {
  return static_cast<int>(config.*Section.*Member);
}

template <auto Section, auto Member>
void SetChoice(Config& config, int index) {
  auto& field = config.*Section.*Member;
  field = static_cast<std::remove_reference_t<decltype(field)>>(index);
}

constexpr Setting kSettings[] = {
    {"server", "listen",
     TextSetting{In<&Config::server, &Config::Server::listen>, IsListenAddress,
                 "host:port, such as \"127.0.0.1:7443\" or \"[::1]:7443\""}},
    {"server", "port_file", PathSetting{In<&Config::server, &Config::Server::port_file>}},
    {"server", "worker_threads",
     CountSetting{In<&Config::server, &Config::Server::worker_threads>, 0, 256, "threads"}},
    {"server", "reflection", BooleanSetting{In<&Config::server, &Config::Server::reflection>}},
    {"server", "drain_timeout",
     DurationSetting{In<&Config::server, &Config::Server::drain_timeout>, absl::ZeroDuration(),
                     absl::Minutes(10)}},
    {"server", "handshake_timeout",
     DurationSetting{In<&Config::server, &Config::Server::handshake_timeout>, absl::Seconds(1),
                     absl::Minutes(2)}},
    {"server", "connections_max",
     CountSetting{In<&Config::server, &Config::Server::connections_max>, 16, 1'000'000,
                  "connections"}},
    {"server", "connections_per_address_max",
     CountSetting{In<&Config::server, &Config::Server::connections_per_address_max>, 16, 1'000'000,
                  "connections"}},
    {"server", "connections_per_tenant_max",
     CountSetting{In<&Config::server, &Config::Server::connections_per_tenant_max>, 16, 1'000'000,
                  "connections"}},
    {"server", "keepalive_ping_min_interval",
     DurationSetting{In<&Config::server, &Config::Server::keepalive_ping_min_interval>,
                     absl::Seconds(1), absl::Hours(1)}},
    {"server", "connection_age_max",
     DurationSetting{In<&Config::server, &Config::Server::connection_age_max>, absl::Minutes(1),
                     kDay}},
    {"server", "connection_age_grace",
     DurationSetting{In<&Config::server, &Config::Server::connection_age_grace>, absl::Seconds(1),
                     absl::Hours(1)}},
    {"server", "streams_per_connection_max",
     CountSetting{In<&Config::server, &Config::Server::streams_per_connection_max>, 1, 10'000,
                  "streams"}},
    {"server", "metadata_bytes_max",
     BytesSetting{In<&Config::server, &Config::Server::metadata_bytes_max>, kKiB, kMiB}},

    {"tls", "ca_file", PathSetting{In<&Config::tls, &Config::Tls::ca_file>}, /*required=*/true},
    {"tls", "certificate_file", PathSetting{In<&Config::tls, &Config::Tls::certificate_file>},
     /*required=*/true},
    {"tls", "key_file", PathSetting{In<&Config::tls, &Config::Tls::key_file>}, /*required=*/true},
    {"tls", "trust_domain",
     TextSetting{In<&Config::tls, &Config::Tls::trust_domain>, IsTrustDomain,
                 "a SPIFFE trust domain: 1 to 255 of a-z, 0-9, '.', '-', '_'"}},
    {"tls", "reload_interval",
     DurationSetting{In<&Config::tls, &Config::Tls::reload_interval>, absl::Seconds(1),
                     absl::Hours(1)}},

    {"storage", "data_dir", PathSetting{In<&Config::storage, &Config::Storage::data_dir>},
     /*required=*/true},
    {"storage", "durability",
     ChoiceSetting{kDurabilities, GetChoice<&Config::storage, &Config::Storage::durability>,
                   SetChoice<&Config::storage, &Config::Storage::durability>}},
    {"storage", "shards",
     CountSetting{In<&Config::storage, &Config::Storage::shards>, 1, 64, "shards"}},
    {"storage", "memtable_bytes",
     BytesSetting{In<&Config::storage, &Config::Storage::memtable_bytes>, 16 * kMiB, 8 * kGiB}},
    {"storage", "disk_reserve_bytes",
     BytesSetting{In<&Config::storage, &Config::Storage::disk_reserve_bytes>, 0, kTiB}},
    {"storage", "index_calls_max",
     CountSetting{In<&Config::storage, &Config::Storage::index_calls_max>, 0, 1'000'000'000,
                  "calls"}},
    {"storage", "allow_unsafe_filesystem",
     BooleanSetting{In<&Config::storage, &Config::Storage::allow_unsafe_filesystem>}},
    {"storage", "accept_data_loss",
     BooleanSetting{In<&Config::storage, &Config::Storage::accept_data_loss>}},

    {.section = "keys",
     .name = "root_key_file",
     .type = PathSetting{In<&Config::keys, &Config::Keys::root_key_file>},
     .echo = false},
    {.section = "keys",
     .name = "root_key_credential",
     .type = TextSetting{In<&Config::keys, &Config::Keys::root_key_credential>, IsCredentialName,
                         "a credential's name: 1 to 255 of letters, digits, '.', '-', '_', not "
                         "starting with '.'"},
     .echo = false},

    {.section = "retention",
     .name = "default_ttl",
     .type = DurationSetting{In<&Config::retention, &Config::Retention::default_ttl>,
                             absl::Seconds(1), kDay},
     .tenant_section = "retention",
     .tenant_name = "default_ttl"},
    {.section = "retention",
     .name = "max_ttl",
     .type = DurationSetting{In<&Config::retention, &Config::Retention::max_ttl>, absl::Seconds(1),
                             kDay},
     .tenant_section = "retention",
     .tenant_name = "max_ttl"},
    // The minimum depends on limits.id_window (config/rules.cc); this is its lowest value.
    {.section = "retention",
     .name = "tombstone_ttl",
     .type = DurationSetting{In<&Config::retention, &Config::Retention::tombstone_ttl>,
                             absl::Seconds(80), kDay},
     .tenant_section = "retention",
     .tenant_name = "tombstone_ttl"},
    {"retention", "clock_jump_grace",
     DurationSetting{In<&Config::retention, &Config::Retention::clock_jump_grace>,
                     absl::ZeroDuration(), kDay}},
    {"retention", "sweep_batch_calls",
     CountSetting{In<&Config::retention, &Config::Retention::sweep_batch_calls>, 1, 4096, "calls"}},

    {"claims", "lease_default",
     DurationSetting{In<&Config::claims, &Config::Claims::lease_default>, absl::Seconds(1),
                     absl::Minutes(10)}},
    {"claims", "lease_max",
     DurationSetting{In<&Config::claims, &Config::Claims::lease_max>, absl::Seconds(1),
                     absl::Hours(1)}},
    {"claims", "lease_total_max",
     DurationSetting{In<&Config::claims, &Config::Claims::lease_total_max>, absl::Seconds(1),
                     kDay}},
    {"claims", "wait_max",
     DurationSetting{In<&Config::claims, &Config::Claims::wait_max>, absl::ZeroDuration(),
                     absl::Seconds(55)}},
    {.section = "claims",
     .name = "outstanding_max",
     .type = CountSetting{In<&Config::claims, &Config::Claims::outstanding_max>, 1, 10'000'000,
                          "claims"},
     .tenant_section = "limits",
     .tenant_name = "claims_max"},

    {"limits", "id_window",
     DurationSetting{In<&Config::limits, &Config::Limits::id_window>, absl::Seconds(10),
                     absl::Hours(1)}},
    {"limits", "payload_bytes_max",
     BytesSetting{In<&Config::limits, &Config::Limits::payload_bytes_max>, 1, 64 * kGiB}},
    {"limits", "message_bytes_max",
     BytesSetting{In<&Config::limits, &Config::Limits::message_bytes_max>, 2 * kMiB, 64 * kMiB}},
    {"limits", "unsent_bytes_max",
     BytesSetting{In<&Config::limits, &Config::Limits::unsent_bytes_max>, 2 * kMiB, kTiB}},
    {"limits", "tenant_unsent_bytes_max",
     BytesSetting{In<&Config::limits, &Config::Limits::tenant_unsent_bytes_max>, 2 * kMiB, kTiB}},
    {"limits", "connection_unsent_bytes_max",
     BytesSetting{In<&Config::limits, &Config::Limits::connection_unsent_bytes_max>, 2 * kMiB,
                  kTiB}},
    {"limits", "batch_items_max",
     CountSetting{In<&Config::limits, &Config::Limits::batch_items_max>, 1, 512, "items"}},
    {"limits", "stream_subscriptions_max",
     CountSetting{In<&Config::limits, &Config::Limits::stream_subscriptions_max>, 1, 1'000'000,
                  "calls"}},
    {"limits", "uploads_max",
     CountSetting{In<&Config::limits, &Config::Limits::uploads_max>, 1, 100'000, "uploads"}},
    {"limits", "upload_idle_timeout",
     DurationSetting{In<&Config::limits, &Config::Limits::upload_idle_timeout>, absl::Seconds(1),
                     kDay}},
    {.section = "limits",
     .name = "live_calls_max",
     .type = CountSetting{In<&Config::limits, &Config::Limits::live_calls_max>, 0, 1'000'000'000,
                          "calls"},
     .tenant_section = "limits",
     .tenant_name = "live_calls_max"},
    {.section = "limits",
     .name = "live_bytes_max",
     .type = BytesSetting{In<&Config::limits, &Config::Limits::live_bytes_max>, 0, 1024 * kTiB},
     .tenant_section = "limits",
     .tenant_name = "live_bytes_max"},
    {.section = "limits",
     .name = "operations_per_second_max",
     .type = CountSetting{In<&Config::limits, &Config::Limits::operations_per_second_max>, 0,
                          10'000'000, "operations per second"},
     .tenant_section = "limits",
     .tenant_name = "operations_per_second_max"},

    {"log", "level",
     ChoiceSetting{kLogLevels, GetChoice<&Config::log, &Config::Log::level>,
                   SetChoice<&Config::log, &Config::Log::level>}},
    {"log", "file", PathSetting{In<&Config::log, &Config::Log::file>}},
};

struct RangeOf {
  template <typename Other>
  std::string operator()(const Other&) const {
    return "";
  }
  std::string operator()(const CountSetting& type) const {
    return absl::StrCat(type.min, " to ", type.max, " ", type.unit);
  }
  std::string operator()(const BytesSetting& type) const {
    return absl::StrCat(FormatBytes(type.min), " to ", FormatBytes(type.max));
  }
  std::string operator()(const DurationSetting& type) const {
    return absl::StrCat(absl::FormatDuration(type.min), " to ", absl::FormatDuration(type.max));
  }
};

struct WantsOf {
  std::string operator()(const BooleanSetting&) const { return "true or false"; }
  std::string operator()(const CountSetting& type) const {
    return absl::StrCat("an integer, ", RangeOf()(type));
  }
  std::string operator()(const BytesSetting& type) const {
    return absl::StrCat("an integer (bytes) or a string such as \"64MiB\", ", RangeOf()(type));
  }
  std::string operator()(const DurationSetting& type) const {
    return absl::StrCat("a duration in quotes with a unit, such as \"30s\", ", RangeOf()(type));
  }
  std::string operator()(const TextSetting& type) const { return std::string(type.wants); }
  std::string operator()(const PathSetting&) const { return "a path in quotes"; }
  std::string operator()(const ChoiceSetting& type) const {
    return absl::StrCat("one of \"", absl::StrJoin(type.names, "\", \""), "\"");
  }
};

}  // namespace

std::string Setting::FullName() const { return absl::StrCat(section, ".", name); }

absl::Span<const Setting> Settings() { return kSettings; }

std::string DescribeWants(const Setting& setting) { return std::visit(WantsOf(), setting.type); }

std::string DescribeRange(const Setting& setting) { return std::visit(RangeOf(), setting.type); }

std::string FormatBytes(uint64_t bytes) {
  if (bytes == 0) return "0";
  for (const auto& [suffix, unit] : kByteUnits) {
    if (bytes % unit == 0) return absl::StrCat(bytes / unit, suffix);
  }
  return absl::StrCat(bytes);
}

bool ParseBytes(absl::string_view text, uint64_t* bytes) {
  const size_t digits =
      std::find_if_not(text.begin(), text.end(), absl::ascii_isdigit) - text.begin();
  const absl::string_view suffix = text.substr(digits);
  const auto unit = std::find_if(kByteUnits.begin(), kByteUnits.end(),
                                 [&](const auto& entry) { return entry.first == suffix; });
  uint64_t count = 0;
  if (unit == kByteUnits.end() || !absl::SimpleAtoi(text.substr(0, digits), &count)) return false;
  if (count > std::numeric_limits<uint64_t>::max() / unit->second) return false;
  *bytes = count * unit->second;
  return true;
}

}  // namespace mayfly
