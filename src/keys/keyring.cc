#include "keys/keyring.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "base/error.h"
#include "base/now.h"
#include "crypto/constant_time.h"
#include "crypto/hkdf.h"
#include "crypto/random.h"

namespace mayfly {
namespace {

constexpr char kFileName[] = "keyring";
constexpr char kNewFileName[] = "keyring.new";

std::string PathOf(const std::string& directory, absl::string_view name) {
  return absl::StrCat(directory, "/", name);
}

constexpr int64_t FirstSecondOf(Hour hour) { return hour * kSecondsPerHour; }

constexpr int64_t FloorSeconds(int64_t ms) {
  const int64_t seconds = ms / 1000;
  return ms % 1000 < 0 ? seconds - 1 : seconds;
}

ByteSpan SectorAt(absl::string_view content, uint64_t offset) {
  return AsBytes(content.substr(offset, kKeyringSectorBytes));
}

void PutSector(const KeyringSector& sector, uint64_t offset, std::string* content) {
  std::copy(sector.begin(), sector.end(), content->begin() + static_cast<int64_t>(offset));
}

// A file without keys.
std::string EmptyKeyring(const SecretBytes& root_key, const KeyringHeader& header) {
  std::string content(kKeyringBytes, '\0');
  for (size_t copy = 0; copy < kKeyringCopies; ++copy) {
    const KeyringPlace place = {.bank = 0, .copy = copy};
    PutSector(EncodeKeyringHeader(root_key, header), OffsetOfKeyringHeader(place), &content);
    for (size_t cell = 0; cell < kKeyringCells; ++cell) {
      PutSector(EncodeKeyringCell({}), OffsetOfKeyringCell(place, cell), &content);
    }
  }
  return content;
}

// Where the newer of two valid sectors is, and what it says.
template <typename Content>
struct Newer {
  size_t copy = 0;
  Content content;
};

template <typename Content, typename Decode, typename IsNewerThan>
std::optional<Newer<Content>> NewerOf(const std::array<ByteSpan, kKeyringCopies>& sectors,
                                      Decode decode, IsNewerThan is_newer) {
  std::optional<Newer<Content>> newer;
  for (size_t copy = 0; copy < sectors.size(); ++copy) {
    const std::optional<Content> content = decode(sectors[copy]);
    if (!content || (newer && !is_newer(*content, newer->content))) continue;
    newer = Newer<Content>{.copy = copy, .content = *content};
  }
  return newer;
}

std::optional<Newer<KeyringHeader>> NewerHeader(absl::string_view content, size_t bank) {
  const auto sector = [&](size_t copy) {
    return SectorAt(content, OffsetOfKeyringHeader({.bank = bank, .copy = copy}));
  };
  return NewerOf<KeyringHeader>(
      {sector(0), sector(1)}, DecodeKeyringHeader,
      [](const KeyringHeader& a, const KeyringHeader& b) { return a.rotation > b.rotation; });
}

std::optional<Newer<KeyringCell>> NewerCell(absl::string_view content, size_t bank, size_t cell) {
  const auto sector = [&](size_t copy) {
    return SectorAt(content, OffsetOfKeyringCell({.bank = bank, .copy = copy}, cell));
  };
  return NewerOf<KeyringCell>({sector(0), sector(1)}, DecodeKeyringCell, IsNewer);
}

}  // namespace

// ---- Create and open

bool Keyring::Exists(FileSystem* file_system, const std::string& directory) {
  return file_system->Exists(PathOf(directory, kFileName));
}

absl::Status Keyring::CheckRootKey(FileSystem* file_system, const std::string& directory,
                                   const SecretBytes& root_key) {
  return Load(file_system, PathOf(directory, kFileName), root_key).status();
}

absl::StatusOr<std::unique_ptr<Keyring>> Keyring::Create(FileSystem* file_system,
                                                         const std::string& directory,
                                                         const SecretBytes& root_key,
                                                         const StoreId& store_id, int64_t now_ms) {
  if (Exists(file_system, directory)) return absl::AlreadyExistsError("keyring exists already");
  // Only a new file is renamed: nothing was sealed under it.
  RETURN_IF_ERROR(ReplaceFile(file_system, directory, kFileName,
                              AsBytes(EmptyKeyring(root_key, {.store_id = store_id}))));
  auto keyring = Open(file_system, directory, root_key);
  RETURN_IF_ERROR(keyring.status());
  RETURN_IF_ERROR((*keyring)->EnsureAhead(now_ms));
  return keyring;
}

absl::StatusOr<std::unique_ptr<Keyring>> Keyring::Open(FileSystem* file_system,
                                                       const std::string& directory,
                                                       const SecretBytes& root_key) {
  if (!Exists(file_system, directory)) return absl::NotFoundError("keyring is missing");
  const std::string path = PathOf(directory, kFileName);
  auto loaded = Load(file_system, path, root_key);
  RETURN_IF_ERROR(loaded.status());
  // A process that was killed may have renamed the file and not synced that.
  RETURN_IF_ERROR(file_system->SyncDirectory(directory));
  std::unique_ptr<Keyring> keyring(new Keyring(path, root_key, loaded->header));
  MutexLock lock(&keyring->file_mutex_);
  auto file = file_system->Open(path, /*create=*/false);
  RETURN_IF_ERROR(file.status());
  keyring->file_ = *std::move(file);
  RETURN_IF_ERROR(keyring->Mend(*loaded));
  keyring->Adopt(*std::move(loaded));
  return keyring;
}

Keyring::Keyring(const std::string& path, const SecretBytes& root_key, const KeyringHeader& header)
    : path_(path),
      store_id_(header.store_id),
      root_key_(root_key.ExposeBytes()),
      rotation_(header.rotation),
      passed_s_(std::numeric_limits<int64_t>::min()) {}

absl::StatusOr<Keyring::Loaded> Keyring::Load(FileSystem* file_system, const std::string& path,
                                              const SecretBytes& root_key) {
  auto content = ReadFile(file_system, path, kKeyringBytes);
  RETURN_IF_ERROR(content.status());
  if (IsOlderKeyring(AsBytes(*content))) {
    return absl::FailedPreconditionError(
        "the keyring keys/keyring is not of the format that this program reads: run the version of "
        "mayflyd that wrote it until its calls have ended, 24 h at most, or move the whole data "
        "directory away to start empty");
  }
  if (content->size() != kKeyringBytes) return DamagedKeyring();

  Loaded loaded;
  std::optional<Newer<KeyringHeader>> header;
  for (size_t bank = 0; bank < kKeyringBanks; ++bank) {
    const auto found = NewerHeader(*content, bank);
    if (!found || (header && found->content.rotation <= header->content.rotation)) continue;
    header = found;
    loaded.bank = bank;
  }
  if (!header) return DamagedKeyring();
  loaded.header = header->content;
  if (!IsOfRootKey(root_key, SectorAt(*content, OffsetOfKeyringHeader({.bank = loaded.bank,
                                                                       .copy = header->copy})))) {
    return absl::FailedPreconditionError(
        "the root key is not the one that keys/keyring was made or last rotated with: let "
        "keys.root_key_file or keys.root_key_credential name that one, which after "
        "--rotate-root-key is the new one, or move the whole data directory away to start empty");
  }
  for (size_t i = 0; i < kKeyringCells; ++i) {
    const auto cell = NewerCell(*content, loaded.bank, i);
    if (!cell) return DamagedKeyring();
    loaded.cells[i] = cell->content;
    if (cell->content.number != 0 && CellOf(cell->content.number) != i) return DamagedKeyring();
    if (!cell->content.is_open()) continue;
    auto key = OpenHourKey(root_key, loaded.header.store_id, cell->content);
    RETURN_IF_ERROR(key.status());
    loaded.keys[i] = *std::move(key);
  }
  loaded.content = *std::move(content);
  return loaded;
}

absl::Status Keyring::Mend(const Loaded& loaded) {
  // What was read may be in the page cache only, of a process that was killed.
  RETURN_IF_ERROR(file_->Sync());
  bool wrote = false;
  const auto mend = [&](uint64_t offset, ByteSpan wanted) {
    if (SectorAt(loaded.content, offset) == wanted) return absl::OkStatus();
    wrote = true;
    return file_->WriteAt(offset, wanted);
  };
  const auto sector_at = [&](KeyringPlace place, std::optional<size_t> cell) {
    return cell ? OffsetOfKeyringCell(place, *cell) : OffsetOfKeyringHeader(place);
  };
  const size_t bank = loaded.bank;
  for (size_t copy = 0; copy < kKeyringCopies; ++copy) {
    const KeyringPlace place = {.bank = bank, .copy = copy};
    const KeyringPlace newer = {.bank = bank, .copy = NewerHeader(loaded.content, bank)->copy};
    RETURN_IF_ERROR(mend(sector_at(place, std::nullopt),
                         SectorAt(loaded.content, sector_at(newer, std::nullopt))));
    for (size_t cell = 0; cell < kKeyringCells; ++cell) {
      const KeyringPlace newer_cell = {.bank = bank,
                                       .copy = NewerCell(loaded.content, bank, cell)->copy};
      RETURN_IF_ERROR(
          mend(sector_at(place, cell), SectorAt(loaded.content, sector_at(newer_cell, cell))));
    }
  }
  const std::string zeros(kKeyringBankBytes, '\0');
  const size_t other = 1 - bank;
  if (loaded.content.compare(other * kKeyringBankBytes, kKeyringBankBytes, zeros) != 0) {
    return WipeBank(other);
  }
  return wrote ? file_->Sync() : absl::OkStatus();
}

void Keyring::Adopt(Loaded loaded) {
  bank_ = loaded.bank;
  cells_ = loaded.cells;
  MutexLock lock(&mutex_);
  HourKeyNumber last = 0;
  for (size_t i = 0; i < kKeyringCells; ++i) {
    last = std::max(last, cells_[i].number);
    if (!cells_[i].is_open()) continue;
    AddKey(cells_[i], std::move(loaded.keys[i]));
    keys_[i]->is_inherited = true;
  }
  last_number_ = last;
}

// ---- Make keys

absl::Status Keyring::EnsureAhead(int64_t now_ms) {
  MutexLock file_lock(&file_mutex_);
  std::vector<KeyringCell> cells;
  std::vector<SecretBytes> keys;
  {
    MutexLock lock(&mutex_);
    HourKeyNumber last = last_number_;
    for (const Hour hour : HoursWithout(now_ms, kKeysAheadMs)) {
      const auto number = NextNumber(last);
      RETURN_IF_ERROR(number.status());
      last = *number;
      KeyringCell& cell =
          cells.emplace_back(KeyringCell{.number = *number, .hour = hour, .first_open = 0});
      SecretBytes& key = keys.emplace_back(kHourKeySize);
      FillRandom(key.ExposeMutableBytes());
      SealHourKey(root_key_, store_id_, key, &cell);
    }
  }
  if (cells.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(WriteCells(cells));
  MutexLock lock(&mutex_);
  for (size_t i = 0; i < cells.size(); ++i) AddKey(cells[i], std::move(keys[i]));
  last_number_ = cells.back().number;
  return absl::OkStatus();
}

std::vector<Hour> Keyring::HoursWithout(int64_t now_ms, int64_t ahead_ms) const {
  // What is over is sealed under no more, so it needs no key.
  const int64_t first_s = std::max(FloorSeconds(now_ms), passed_s_) + 1;
  const Hour last = HourOfSecond(FloorSeconds(now_ms + ahead_ms));
  std::vector<Hour> hours;
  for (Hour hour = HourOfSecond(first_s); hour <= last; ++hour) {
    const auto newest = newest_.find(hour);
    if (newest != newest_.end()) {
      const OpenKey& key = *keys_[CellOf(newest->second)];
      if (FirstSecondOf(hour) + key.chain.first_open() <= std::max(first_s, FirstSecondOf(hour))) {
        continue;
      }
    }
    hours.push_back(hour);
  }
  return hours;
}

// Numbers whose cell is in use are left out.
absl::StatusOr<HourKeyNumber> Keyring::NextNumber(HourKeyNumber last) const {
  // Of the keys that are being made, whose cells are not in use yet, each has a number of its own.
  for (HourKeyNumber number = last + 1; number <= last + kKeyringCells; ++number) {
    if (number > kHourKeyNumberMax) {
      return absl::ResourceExhaustedError(
          absl::StrCat("hour key number would be ", number, ", limit is ", kHourKeyNumberMax));
    }
    if (number - last_number_ > kKeyringCells) break;
    if (keys_[CellOf(number)] == nullptr) return number;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("hour_key_count would be ", kKeyringCells + 1, ", limit is ", kKeyringCells));
}

void Keyring::AddKey(const KeyringCell& cell, SecretBytes key) {
  const size_t i = CellOf(cell.number);
  Check(keys_[i] == nullptr, "a cell has one open key");
  keys_[i] = std::make_unique<OpenKey>(cell.hour, std::move(key), cell.first_open);
  HourKeyNumber& newest = newest_[cell.hour];
  newest = std::max(newest, cell.number);
  // In this order: see IsClosed.
  Frontier& frontier = frontiers_[i];
  frontier.number = 0;
  frontier.open_from_s = FirstSecondOf(cell.hour) + cell.first_open;
  frontier.number = cell.number;
}

// ---- Close seconds

absl::Status Keyring::Close(int64_t erase_ms) {
  if (erase_ms == Now::kNeverMs) return absl::OkStatus();
  MutexLock file_lock(&file_mutex_);
  const int64_t passed_s = FloorSeconds(erase_ms);
  std::vector<KeyringCell> cells;
  {
    MutexLock lock(&mutex_);
    passed_s_ = passed_s;
    for (size_t i = 0; i < kKeyringCells; ++i) {
      if (keys_[i] == nullptr) continue;
      OpenKey& key = *keys_[i];
      const uint32_t first_open = key.chain.first_open();
      const int64_t open_from_s = passed_s + 1 - FirstSecondOf(key.hour);
      if (open_from_s <= first_open) continue;
      const auto end = static_cast<uint32_t>(std::min<int64_t>(open_from_s, kSecondsPerHour));
      // At the end of an hour its cell becomes free.
      bool is_used = key.is_inherited || end == kSecondsPerHour;
      for (uint32_t second = first_open; second < end && !is_used; ++second) {
        is_used = key.used[second];
      }
      CloseBefore(i, end);
      if (is_used) cells.push_back(CellNow(i, root_key_));
    }
  }
  return cells.empty() ? CheckUsable() : WriteCells(cells);
}

void Keyring::CloseBefore(size_t cell, uint32_t first_open) {
  OpenKey& key = *keys_[cell];
  // Before the chain: IsClosed may be early, and never late.
  frontiers_[cell].open_from_s = FirstSecondOf(key.hour) + first_open;
  key.chain.CloseBefore(first_open);
  if (first_open < kSecondsPerHour) return;
  const auto newest = newest_.find(key.hour);
  if (newest != newest_.end() && CellOf(newest->second) == cell) newest_.erase(newest);
  keys_[cell] = nullptr;
}

// ---- Use keys

void Keyring::NoteUse(int64_t due_s) {
  const Hour hour = HourOfSecond(due_s);
  MutexLock lock(&mutex_);
  for (const auto& key : keys_) {
    if (key != nullptr && key->hour == hour) key->used.set(due_s - FirstSecondOf(hour));
  }
}

void Keyring::AllUsesAreNoted() {
  MutexLock lock(&mutex_);
  for (const auto& key : keys_) {
    if (key != nullptr) key->is_inherited = false;
  }
}

absl::StatusOr<HourKeyNumber> Keyring::NumberFor(int64_t due_s) {
  const Hour hour = HourOfSecond(due_s);
  const auto second = static_cast<uint32_t>(due_s - FirstSecondOf(hour));
  MutexLock lock(&mutex_);
  const auto newest = newest_.find(hour);
  if (newest == newest_.end()) return absl::NotFoundError("the hour has no key");
  OpenKey& key = *keys_[CellOf(newest->second)];
  if (second < key.chain.first_open()) return absl::NotFoundError("the second is closed");
  key.used.set(second);
  return newest->second;
}

absl::StatusOr<SecretBytes> Keyring::Extract(const SecondRef& second, ByteSpan slot_secret) const {
  if (second.hour_key == 0 || second.hour_key > last_number_) {
    return MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                     "the stored payload's hour key is not in the keyring");
  }
  uint8_t saved_leaf[HmacKey::kSavedSize];
  {
    MutexLock lock(&mutex_);
    if (IsClosed(second)) return absl::NotFoundError("the second is closed");
    const auto& key = keys_[CellOf(second.hour_key)];
    if (key == nullptr || key->hour != HourOfSecond(second.due_s)) {
      return MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                       "the stored payload's hour key is another hour's");
    }
    const auto index = static_cast<uint32_t>(second.due_s - FirstSecondOf(key->hour));
    key->chain.CopyLeaf(index, saved_leaf);
  }
  SecretBytes extracted(kPseudorandomKeySize);
  HkdfExtract(HmacKey::FromSaved(saved_leaf), slot_secret, extracted.ExposeMutableBytes().data());
  WipeMemory(saved_leaf, sizeof saved_leaf);
  return extracted;
}

bool Keyring::IsClosed(const SecondRef& second) const {
  if (second.hour_key == 0 || second.hour_key > last_number_) return false;
  const Frontier& frontier = frontiers_[CellOf(second.hour_key)];
  if (frontier.number != second.hour_key) return true;
  const bool is_closed = second.due_s < frontier.open_from_s;
  // The cell may have got another key meanwhile, since this one's last second is closed.
  return is_closed || frontier.number != second.hour_key;
}

std::vector<Hour> Keyring::Hours() const {
  MutexLock lock(&mutex_);
  std::vector<Hour> hours;
  for (const auto& key : keys_) {
    if (key != nullptr) hours.push_back(key->hour);
  }
  std::sort(hours.begin(), hours.end());
  hours.erase(std::unique(hours.begin(), hours.end()), hours.end());
  return hours;
}

std::vector<Hour> Keyring::MissingHours(int64_t now_ms) const {
  MutexLock lock(&mutex_);
  return HoursWithout(now_ms, kDeadlineAheadMsMax);
}

// ---- Another root key

absl::Status Keyring::Rewrap(const SecretBytes& new_root_key) {
  MutexLock file_lock(&file_mutex_);
  RETURN_IF_ERROR(CheckUsable());
  Cells cells = cells_;
  {
    MutexLock lock(&mutex_);
    for (size_t i = 0; i < kKeyringCells; ++i) {
      if (keys_[i] != nullptr) cells[i] = CellNow(i, new_root_key);
    }
  }
  const size_t other = 1 - bank_;
  const KeyringHeader header = {.rotation = rotation_ + 1, .store_id = store_id_};
  RETURN_IF_ERROR(WriteBank(other, cells));
  RETURN_IF_ERROR(Final(ReadBack(other, new_root_key)));
  RETURN_IF_ERROR(WriteHeaders(other, new_root_key, header));
  RETURN_IF_ERROR(WipeBank(bank_));
  bank_ = other;
  rotation_ = header.rotation;
  cells_ = cells;
  root_key_ = SecretBytes(new_root_key.ExposeBytes());
  return absl::OkStatus();
}

// Compares what the file has with the keys in memory.
absl::Status Keyring::ReadBack(size_t bank, const SecretBytes& root_key) {
  const absl::Status differs =
      absl::DataLossError("keyring read back differs from what was written");
  MutexLock lock(&mutex_);
  for (size_t copy = 0; copy < kKeyringCopies; ++copy) {
    for (size_t i = 0; i < kKeyringCells; ++i) {
      KeyringSector sector;
      RETURN_IF_ERROR(file_->ReadAt(OffsetOfKeyringCell({.bank = bank, .copy = copy}, i),
                                    absl::MakeSpan(sector)));
      const std::optional<KeyringCell> cell = DecodeKeyringCell(sector);
      if (!cell || cell->is_open() != (keys_[i] != nullptr)) return differs;
      if (keys_[i] == nullptr) continue;
      const auto key = OpenHourKey(root_key, store_id_, *cell);
      RETURN_IF_ERROR(key.status());
      if (!EqualInConstantTime(key->ExposeBytes(), keys_[i]->chain.key().ExposeBytes())) {
        return differs;
      }
    }
  }
  return absl::OkStatus();
}

// ---- The file

// As memory has it: seconds that are closed there may be open in the file, when nothing was sealed under
// them.
KeyringCell Keyring::CellNow(size_t cell, const SecretBytes& root_key) const {
  KeyringCell now = cells_[cell];
  now.sealed_key.fill(0);
  now.first_open = kSecondsPerHour;
  if (keys_[cell] == nullptr) return now;
  now.first_open = keys_[cell]->chain.first_open();
  SealHourKey(root_key, store_id_, keys_[cell]->chain.key(), &now);
  return now;
}

absl::Status Keyring::CheckUsable() const {
  if (!failed_) return absl::OkStatus();
  return absl::UnavailableError("keyring failed before: it must be opened again");
}

absl::Status Keyring::Final(absl::Status status) {
  if (!status.ok()) failed_ = true;
  return status;
}

absl::Status Keyring::WriteCells(absl::Span<const KeyringCell> cells) {
  RETURN_IF_ERROR(CheckUsable());
  for (size_t copy = 0; copy < kKeyringCopies; ++copy) {
    for (const KeyringCell& cell : cells) {
      const KeyringPlace place = {.bank = bank_, .copy = copy};
      RETURN_IF_ERROR(Final(file_->WriteAt(OffsetOfKeyringCell(place, CellOf(cell.number)),
                                           ByteSpan(EncodeKeyringCell(cell)))));
    }
    RETURN_IF_ERROR(Final(file_->Sync()));
  }
  for (const KeyringCell& cell : cells) cells_[CellOf(cell.number)] = cell;
  return absl::OkStatus();
}

absl::Status Keyring::WriteBank(size_t bank, const Cells& cells) {
  for (size_t copy = 0; copy < kKeyringCopies; ++copy) {
    for (size_t i = 0; i < kKeyringCells; ++i) {
      RETURN_IF_ERROR(Final(file_->WriteAt(OffsetOfKeyringCell({.bank = bank, .copy = copy}, i),
                                           ByteSpan(EncodeKeyringCell(cells[i])))));
    }
  }
  return Final(file_->Sync());
}

absl::Status Keyring::WriteHeaders(size_t bank, const SecretBytes& root_key,
                                   const KeyringHeader& header) {
  for (size_t copy = 0; copy < kKeyringCopies; ++copy) {
    RETURN_IF_ERROR(Final(file_->WriteAt(OffsetOfKeyringHeader({.bank = bank, .copy = copy}),
                                         ByteSpan(EncodeKeyringHeader(root_key, header)))));
    RETURN_IF_ERROR(Final(file_->Sync()));
  }
  return absl::OkStatus();
}

absl::Status Keyring::WipeBank(size_t bank) {
  const std::string zeros(kKeyringBankBytes, '\0');
  RETURN_IF_ERROR(Final(file_->WriteAt(bank * kKeyringBankBytes, AsBytes(zeros))));
  return Final(file_->Sync());
}

}  // namespace mayfly
