// Any stream of bytes becomes requests or is refused; what is read is written back the same; and the service that
// answers them stays within its table and owes each client at most one answer. The first byte says how the stream is
// cut into pieces and which client each piece comes from.
#include <algorithm>
#include <set>
#include <string>

#include "src/membership/store_protocol.h"
#include "src/membership/store_service.h"
#include "tests/fuzz/check.h"

namespace {

constexpr std::size_t kClients = 3;

void check_reply(std::string_view body) {
  const auto reply = tutti::decode_reply(body);
  if (!reply) return;
  const std::string again = tutti::encode(*reply);
  FUZZ_CHECK(std::string_view(again).substr(4) == body);
}

void collect(tutti::StoreService& service, std::set<std::uint64_t>& owed) {
  for (const auto& answer : service.take_answers()) {
    FUZZ_CHECK(owed.erase(answer.client) == 1);
    FUZZ_CHECK(tutti::decode_reply(std::string_view(*answer.frame).substr(4)).is_ok());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0];
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
  check_reply(stream);

  tutti::StoreService service(10'000);
  tutti::FrameReader reader(tutti::kStoreRequestBytes);
  std::set<std::uint64_t> owed;  // clients that wait for an answer
  tutti::Instant now{};
  std::uint64_t turn = 0;
  for (std::size_t position = 0; position < stream.size(); position += piece) {
    reader.feed(stream.substr(position, piece));
    while (true) {
      const auto frame = reader.next();
      if (!frame) return 0;
      if (!*frame) break;
      const auto request = tutti::decode_request(**frame);
      if (!request) continue;
      FUZZ_CHECK(tutti::encode(*request).substr(4) == **frame);
      const std::uint64_t client = turn++ % kClients;
      if (owed.contains(client)) {  // as if it had gone and another had come
        service.forget(client);
        owed.erase(client);
      }
      owed.insert(client);
      service.handle(client, *request, now);
      collect(service, owed);
      now += std::chrono::milliseconds(1);
      service.expire(now);
      collect(service, owed);
      FUZZ_CHECK(service.next_deadline() > now);
    }
  }
  return 0;
}
