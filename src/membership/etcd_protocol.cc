#include "src/membership/etcd_protocol.h"

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "src/base/format.h"

namespace tutti {

namespace {

using Json = nlohmann::json;

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t kNoDigit = 0xff;

constexpr std::array<std::uint8_t, 256> digits() {
  std::array<std::uint8_t, 256> table{};
  for (auto& entry : table) entry = kNoDigit;
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    table[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  }
  return table;
}

// ---- Writing. Keys and values are base64 and everything else is a number, so nothing needs escaping.

std::string field(std::string_view name, std::string_view bytes) {
  return bytes.empty() ? std::string() : format(",\"{}\":\"{}\"", name, to_base64(bytes));
}

std::string field(std::string_view name, std::int64_t number) {
  return number == 0 ? std::string() : format(",\"{}\":\"{}\"", name, number);
}

std::string range_fields(const EtcdRange& range, std::string_view revision_name) {
  return format("\"key\":\"{}\"{}{}{}", to_base64(range.key), field("range_end", range.range_end),
                field(revision_name, range.revision), range.count_only ? ",\"count_only\":true" : "");
}

std::string encode(const EtcdCompare& compare) {
  std::string text = format("{{\"key\":\"{}\",\"result\":\"EQUAL\"", to_base64(compare.key));
  switch (compare.what) {
    case EtcdCompare::What::create_revision:
      return text + format(",\"target\":\"CREATE\",\"create_revision\":\"{}\"}}", compare.revision);
    case EtcdCompare::What::mod_revision:
      return text + format(",\"target\":\"MOD\",\"mod_revision\":\"{}\"}}", compare.revision);
    case EtcdCompare::What::value:
      break;
  }
  return text + format(",\"target\":\"VALUE\",\"value\":\"{}\"}}", to_base64(compare.value));
}

std::string encode(const EtcdOperation& operation) {
  switch (operation.kind) {
    case EtcdOperation::Kind::put:
      return format("{{\"request_put\":{{\"key\":\"{}\"{}{}{}}}}}", to_base64(operation.key),
                    field("value", operation.value), field("lease", operation.lease),
                    operation.keeps_lease ? ",\"ignore_lease\":true" : "");
    case EtcdOperation::Kind::range:
      return format("{{\"request_range\":{{\"key\":\"{}\"{}}}}}", to_base64(operation.key),
                    field("range_end", operation.range_end));
    case EtcdOperation::Kind::remove:
      break;
  }
  return format("{{\"request_delete_range\":{{\"key\":\"{}\"{}}}}}", to_base64(operation.key),
                field("range_end", operation.range_end));
}

template <typename Item>
std::string encode_list(const std::vector<Item>& items) {
  std::string text;
  for (const Item& item : items) {
    if (!text.empty()) text += ',';
    text += encode(item);
  }
  return '[' + text + ']';
}

// ---- Reading. A Reader collects the first thing that is wrong, so that a decoder is one straight line.

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {
    root_ = Json::parse(text.begin(), text.end(), nullptr, false);
    if (!root_.is_object()) complain("it is no JSON object");
  }

  const Json& root() const { return root_; }
  Status status() const { return status_; }

  void complain(std::string_view what) {
    if (!status_) return;
    constexpr std::size_t kShown = 60;
    std::string shown;
    for (const char c : text_.substr(0, kShown)) shown += c >= ' ' && c < '\x7f' ? c : '?';
    status_ = Status(Code::invalid, format("{} bytes are no reply of etcd's ({}): {}{}", text_.size(), what, shown,
                                           text_.size() > kShown ? "..." : ""));
  }

  // An absent member is null.
  const Json& member(const Json& object, const char* name, Json::value_t type) {
    static const Json nothing;
    if (!object.is_object()) return nothing;
    const auto found = object.find(name);
    if (found == object.end() || found->is_null()) return nothing;
    if (found->type() == type) return *found;
    complain(format("\"{}\" is of another type", name));
    return nothing;
  }

  bool flag(const Json& object, const char* name) {
    const Json& found = member(object, name, Json::value_t::boolean);
    return found.is_boolean() && found.get<bool>();
  }

  // Text or number: the gateway writes 64 bits as text and 32 bits as a number.
  std::int64_t number(const Json& object, const char* name) {
    if (!object.is_object()) return 0;
    const auto found = object.find(name);
    if (found == object.end()) return 0;
    if (found->is_number_integer()) return found->get<std::int64_t>();
    std::int64_t value = 0;
    if (found->is_string()) {
      const auto& digits = found->get_ref<const std::string&>();
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      if (error == std::errc() && end == digits.data() + digits.size()) return value;
    }
    complain(format("\"{}\" is no number of 64 bits", name));
    return 0;
  }

  std::string bytes(const Json& object, const char* name) {
    const Json& found = member(object, name, Json::value_t::string);
    if (!found.is_string()) return {};
    auto decoded = from_base64(found.get_ref<const std::string&>());
    if (decoded) return *std::move(decoded);
    complain(format("\"{}\" is no base64", name));
    return {};
  }

  EtcdKeyValue entry(const Json& object) {
    if (!object.is_object()) complain("a key is no object");
    return {bytes(object, "key"), bytes(object, "value"), number(object, "create_revision"),
            number(object, "mod_revision")};
  }

  std::int64_t revision(const Json& object) {
    const Json& header = member(object, "header", Json::value_t::object);
    if (!header.is_object()) complain("it has no header");
    return number(header, "revision");
  }

  EtcdResponse response(const Json& object) {
    EtcdResponse read;
    for (const Json& each : member(object, "kvs", Json::value_t::array)) read.entries.push_back(entry(each));
    read.count = number(object, "count");
    read.removed = number(object, "deleted");
    return read;
  }

 private:
  std::string_view text_;
  Json root_;
  Status status_;
};

template <typename Reply>
Result<Reply> finish(const Reader& reader, Reply reply) {
  if (!reader.status()) return reader.status();
  return reply;
}

// What a stream's line holds: a result, or the refusal that ends the stream.
const Json& stream_result(Reader& reader) {
  const Json& error = reader.member(reader.root(), "error", Json::value_t::object);
  if (error.is_object()) {
    const Json& message = reader.member(error, "message", Json::value_t::string);
    reader.complain(message.is_string() ? message.get_ref<const std::string&>() : "an error without a message");
  }
  const Json& result = reader.member(reader.root(), "result", Json::value_t::object);
  if (!result.is_object()) reader.complain("it has no result");
  return result;
}

}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = bytes.size() - i;
    const auto byte = [&](std::size_t k) -> unsigned {
      return k < left ? static_cast<unsigned char>(bytes[i + k]) : 0u;
    };
    const unsigned word = byte(0) << 16 | byte(1) << 8 | byte(2);
    text += kAlphabet[word >> 18];
    text += kAlphabet[word >> 12 & 63];
    text += left > 1 ? kAlphabet[word >> 6 & 63] : '=';
    text += left > 2 ? kAlphabet[word & 63] : '=';
  }
  return text;
}

Result<std::string> from_base64(std::string_view text) {
  static constexpr auto kDigits = digits();
  const Status bad(Code::invalid, format("{} characters are no base64", text.size()));
  if (text.size() % 4 != 0) return bad;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    const bool is_last = i + 4 == text.size();
    const std::size_t padding = !is_last || text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
    unsigned word = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      const std::uint8_t digit = k < 4 - padding ? kDigits[static_cast<unsigned char>(text[i + k])] : std::uint8_t{0};
      if (digit == kNoDigit) return bad;
      word = word << 6 | digit;
    }
    for (std::size_t k = 0; k < 3 - padding; ++k) bytes += static_cast<char>(word >> (16 - 8 * k) & 0xff);
  }
  return bytes;
}

std::string etcd_range_end(std::string prefix) {
  while (static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  ++prefix.back();
  return prefix;
}

std::string encode(const EtcdRange& range) { return '{' + range_fields(range, "revision") + '}'; }

std::string encode(const EtcdTransaction& transaction) {
  return format("{{\"compare\":{},\"success\":{},\"failure\":{}}}", encode_list(transaction.compares),
                encode_list(transaction.success), encode_list(transaction.failure));
}

std::string encode_watch(const EtcdRange& range) {
  return format("{{\"create_request\":{{{},\"fragment\":true}}}}", range_fields(range, "start_revision"));
}

std::string encode_lease_grant(std::int64_t seconds) { return format("{{\"TTL\":\"{}\"}}", seconds); }

std::string encode_lease(std::int64_t lease) { return format("{{\"ID\":\"{}\"}}", lease); }

std::string encode_etcd_login(std::string_view user, std::string_view password) {
  return Json{{"name", user}, {"password", password}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool EtcdRefusal::wants_login() const {
  constexpr int kUnauthenticated = 16;
  return code == kUnauthenticated || text.find("revision of auth store is old") != std::string::npos;
}

bool EtcdRefusal::may_pass() const {
  // CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, ABORTED, INTERNAL, UNAVAILABLE: elections, time-outs, restarts.
  return code == 1 || code == 2 || code == 4 || code == 10 || code == 13 || code == 14;
}

Result<EtcdRangeReply> decode_etcd_range(std::string_view text) {
  Reader reader(text);
  EtcdRangeReply reply;
  reply.revision = reader.revision(reader.root());
  reply.found = reader.response(reader.root());
  return finish(reader, std::move(reply));
}

Result<EtcdTransactionReply> decode_etcd_transaction(std::string_view text) {
  Reader reader(text);
  EtcdTransactionReply reply;
  reply.revision = reader.revision(reader.root());
  reply.succeeded = reader.flag(reader.root(), "succeeded");
  for (const Json& each : reader.member(reader.root(), "responses", Json::value_t::array)) {
    if (!each.is_object() || each.size() != 1) {
      reader.complain("a response is no object of one member");
      break;
    }
    reply.responses.push_back(reader.response(*each.begin()));
  }
  return finish(reader, std::move(reply));
}

Result<EtcdWatchReply> decode_etcd_watch(std::string_view line) {
  Reader reader(line);
  const Json& result = stream_result(reader);
  EtcdWatchReply reply;
  reply.revision = reader.revision(result);
  reply.is_created = reader.flag(result, "created");
  reply.is_cancelled = reader.flag(result, "canceled");
  reply.is_fragment = reader.flag(result, "fragment");
  for (const Json& each : reader.member(result, "events", Json::value_t::array)) {
    const Json& type = reader.member(each, "type", Json::value_t::string);
    const Json& entry = reader.member(each, "kv", Json::value_t::object);
    if (!entry.is_object()) reader.complain("an event has no key");
    reply.events.push_back({type.is_string() && type == "DELETE", reader.entry(entry)});
  }
  return finish(reader, std::move(reply));
}

Result<EtcdLeaseReply> decode_etcd_lease_grant(std::string_view text) {
  Reader reader(text);
  const EtcdLeaseReply reply{reader.number(reader.root(), "ID"), reader.number(reader.root(), "TTL")};
  if (reply.lease == 0) reader.complain("it has no lease");
  return finish(reader, reply);
}

Result<EtcdLeaseReply> decode_etcd_keep_alive(std::string_view text) {
  Reader reader(text);
  const Json& result = stream_result(reader);
  return finish(reader, EtcdLeaseReply{reader.number(result, "ID"), reader.number(result, "TTL")});
}

Result<std::string> decode_etcd_token(std::string_view text) {
  Reader reader(text);
  const Json& token = reader.member(reader.root(), "token", Json::value_t::string);
  std::string found = token.is_string() ? token.get<std::string>() : std::string();
  // It becomes a line of a request's header.
  const auto is_plain = [](char c) { return c > ' ' && c < 0x7f; };
  if (found.empty() || !std::all_of(found.begin(), found.end(), is_plain)) reader.complain("it has no token");
  return finish(reader, std::move(found));
}

Result<EtcdRefusal> decode_etcd_refusal(std::string_view text) {
  Reader reader(text);
  EtcdRefusal refusal;
  refusal.code = static_cast<int>(reader.number(reader.root(), "code"));
  const Json& message = reader.member(reader.root(), "message", Json::value_t::string);
  if (message.is_string()) refusal.text = message.get<std::string>();
  if (refusal.code == 0 || refusal.text.empty()) reader.complain("it is no refusal either");
  return finish(reader, std::move(refusal));
}

}  // namespace tutti
