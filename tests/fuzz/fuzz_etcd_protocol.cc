// Any text is read as every kind of etcd's replies: it becomes one, no larger than the text, or is refused with a
// sentence. And any bytes come back the same from base64.
#include <string>

#include "src/membership/etcd_protocol.h"
#include "tests/fuzz/check.h"

namespace {

std::size_t bytes_of(const tutti::EtcdResponse& response) {
  std::size_t bytes = 0;
  for (const auto& entry : response.entries) bytes += entry.key.size() + entry.value.size();
  return bytes;
}

void check_refused(const tutti::Status& status) {
  FUZZ_CHECK(status.code() == tutti::Code::invalid);
  FUZZ_CHECK(!status.text().empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);

  if (const auto range = tutti::decode_etcd_range(text)) {
    FUZZ_CHECK(bytes_of(range->found) <= size);
  } else {
    check_refused(range.status());
  }
  if (const auto transaction = tutti::decode_etcd_transaction(text)) {
    std::size_t bytes = 0;
    for (const auto& response : transaction->responses) bytes += bytes_of(response);
    FUZZ_CHECK(bytes <= size);
  } else {
    check_refused(transaction.status());
  }
  if (const auto watch = tutti::decode_etcd_watch(text)) {
    FUZZ_CHECK(watch->events.size() <= size);
  } else {
    check_refused(watch.status());
  }
  if (const auto grant = tutti::decode_etcd_lease_grant(text)) {
    FUZZ_CHECK(grant->lease != 0);
  } else {
    check_refused(grant.status());
  }
  if (const auto kept = tutti::decode_etcd_keep_alive(text); !kept) check_refused(kept.status());
  if (const auto refusal = tutti::decode_etcd_refusal(text)) {
    FUZZ_CHECK(refusal->code != 0 && !refusal->text.empty());
  } else {
    check_refused(refusal.status());
  }
  if (const auto bytes = tutti::from_base64(text)) FUZZ_CHECK(bytes->size() <= size);
  FUZZ_CHECK(*tutti::from_base64(tutti::to_base64(text)) == text);
  return 0;
}
