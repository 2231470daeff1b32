#include "store/id_window.h"

#include "base/error.h"

namespace mayfly {

absl::StatusOr<IdWindow> StartIdWindow(Registry* registry, int64_t window_ms, int64_t now_ms) {
  const auto saved = registry->LoadIdWindow();
  RETURN_IF_ERROR(saved.status());
  IdWindowRecord record{.window_ms = window_ms, .narrower_ms = window_ms, .floor_ms = 0};
  if (saved->has_value()) {
    record = **saved;
    if (window_ms > record.window_ms) {
      // Of several floors that still matter the narrowest window counts.
      const bool floor_matters = record.floor_ms > now_ms - record.window_ms;
      record.narrower_ms =
          floor_matters ? std::min(record.narrower_ms, record.window_ms) : record.window_ms;
      record.floor_ms = std::max(record.floor_ms, now_ms - record.window_ms - 1);
    }
    record.window_ms = window_ms;
  }
  if (*saved != record) RETURN_IF_ERROR(registry->SaveIdWindow(record));
  return IdWindow{.window_ms = record.window_ms,
                  .narrower_ms = record.narrower_ms,
                  .floor_ms = record.floor_ms};
}

}  // namespace mayfly
