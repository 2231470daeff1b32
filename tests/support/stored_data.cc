#include "support/stored_data.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <vector>

#include "rocksdb/db.h"

#include "base/check.h"
#include "base/file_system.h"
#include "keys/slot_format.h"
#include "storage/local/row_format.h"
#include "support/raw_file.h"

namespace mayfly {
namespace {

using Families = std::map<std::string, rocksdb::ColumnFamilyHandle*>;

uint64_t CountRows(rocksdb::DB* database, rocksdb::ColumnFamilyHandle* family) {
  uint64_t count = 0;
  rocksdb::ReadOptions options;
  const auto rows = std::unique_ptr<rocksdb::Iterator>(database->NewIterator(options, family));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) ++count;
  Check(rows->status().ok(), "rows can be read");
  return count;
}

void CountRowsOfAll(rocksdb::DB* database, const Families& families, StoredData* data) {
  data->payload_rows = CountRows(database, families.at("calls"));
  data->segment_rows = CountRows(database, families.at("segments"));
  data->deadline_rows = CountRows(database, families.at("deadlines"));
  data->upload_rows = CountRows(database, families.at("uploads"));
  const auto rows = std::unique_ptr<rocksdb::Iterator>(
      database->NewIterator(rocksdb::ReadOptions(), families.at("usage")));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    const auto usage = DecodeUsage({rows->key().data(), rows->key().size()},
                                   {rows->value().data(), rows->value().size()});
    Check(usage.has_value(), "a tenant's usage can be read");
    data->live_calls += usage->second.live_calls;
    data->live_bytes += usage->second.live_bytes;
  }
}

uint64_t CountLiveSlots(const std::string& path) {
  const std::string content = ReadRaw(path);
  uint64_t count = 0;
  for (uint32_t slot = 0; OffsetOfSlot(slot) + kSlotBytes <= content.size(); ++slot) {
    SlotBytes bytes;
    std::copy_n(content.begin() + static_cast<ptrdiff_t>(OffsetOfSlot(slot)), kSlotBytes,
                bytes.begin());
    if (DecodeSlot(slot, bytes).kind == SlotContent::Kind::kLive) ++count;
  }
  return count;
}

uint64_t AllocatedBytesIn(const std::string& directory) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const auto file = PosixFileSystem()->Open(entry.path().string(), /*create=*/false);
    Check(file.ok(), "a segment file can be opened");
    bytes += (*file)->AllocatedBytes().value_or(0);
  }
  return bytes;
}

}  // namespace

StoredData ReadStoredData(const std::string& directory) {
  const std::string path = directory + "/db";
  std::vector<std::string> names;
  const rocksdb::Options options;
  Check(rocksdb::DB::ListColumnFamilies(options, path, &names).ok(), "there is a database");
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : names) descriptors.emplace_back(name, options);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  Check(rocksdb::DB::OpenForReadOnly(options, path, descriptors, &handles, &opened).ok(),
        "the database can be read");
  const std::unique_ptr<rocksdb::DB> database(opened);
  Families families;
  for (size_t i = 0; i < names.size(); ++i) families[names[i]] = handles[i];

  StoredData data;
  CountRowsOfAll(database.get(), families, &data);
  data.segment_bytes = AllocatedBytesIn(directory + "/segments");
  data.live_slots = CountLiveSlots(directory + "/keys/slots");
  for (rocksdb::ColumnFamilyHandle* handle : handles) {
    Check(database->DestroyColumnFamilyHandle(handle).ok(), "the database can be closed");
  }
  return data;
}

std::ostream& operator<<(std::ostream& out, const StoredData& data) {
  return out << data.payload_rows << " payloads, " << data.segment_rows << " segments in "
             << data.segment_bytes << " bytes of files, " << data.deadline_rows << " deadlines, "
             << data.upload_rows << " uploads, " << data.live_slots << " live slots, counted are "
             << data.live_calls << " calls and " << data.live_bytes << " bytes";
}

}  // namespace mayfly
