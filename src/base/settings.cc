#include "src/base/settings.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "src/base/format.h"

namespace tutti {

namespace {

using S = Settings;

// clang-format off
constexpr Setting kTable[] = {
    {"TUTTI_LOG", &S::log, "warn", "error|warn|info|debug|trace", "How much is written: lines of this level and of those before it.", "0.1"},
    {"TUTTI_LOG_FILE", &S::log_file, "", "", "File that log lines are appended to; empty writes them to standard error.", "0.1"},
    {"TUTTI_EVENTS", &S::events, "", "", "File that the same lines are appended to as JSON, one object a line; empty writes none.", "0.1"},
    {"TUTTI_STORE", &S::store, "", "", "Address of the store at which processes meet: tcp://HOST:PORT, file:///DIRECTORY, or etcd://HOST:PORT[,HOST:PORT...][/PREFIX] (etcds:// for one behind TLS); empty takes it from the launcher.", "0.1"},
    {"TUTTI_SECRET", &S::secret, "", "", "What every process of a job must know to be let in; use 32 random characters or more.", "0.1"},
    {"TUTTI_SECRET_FILE", &S::secret_file, "", "", "File that holds the secret, readable by its owner alone; not together with TUTTI_SECRET.", "0.1"},
    {"TUTTI_TLS", &S::tls, "off", "off|psk|certificates", "Whether everything that goes over TCP is inside TLS 1.3, and how both ends show who they are: by a key derived from the secret, or by certificates; the same in all processes of a job.", "0.1"},
    {"TUTTI_TLS_CERTIFICATE", &S::tls_certificate, "", "", "File with this process's certificate and those between it and the authority (PEM), for TUTTI_TLS=certificates.", "0.1"},
    {"TUTTI_TLS_KEY", &S::tls_key, "", "", "File with the private key of that certificate (PEM, without a passphrase), readable by its owner alone.", "0.1"},
    {"TUTTI_TLS_AUTHORITY", &S::tls_authority, "", "", "File with the certificates of the authorities (PEM); whoever has a certificate of theirs is let in, and nobody else.", "0.1"},
    {"TUTTI_ETCD_USER", &S::etcd_user, "", "", "User to log in to etcd as; empty does not log in.", "0.1"},
    {"TUTTI_ETCD_PASSWORD_FILE", &S::etcd_password_file, "", "", "File that holds that user's password, readable by its owner alone.", "0.1"},
    {"TUTTI_ETCD_AUTHORITY", &S::etcd_authority, "", "", "File with the certificates that etcd's own must come from (PEM), for etcds://; empty takes the authorities of the system.", "0.1"},
    {"TUTTI_ETCD_CERTIFICATE", &S::etcd_certificate, "", "", "File with the certificate to show to etcd (PEM), where it asks for one.", "0.1"},
    {"TUTTI_ETCD_KEY", &S::etcd_key, "", "", "File with the private key of that certificate (PEM), readable by its owner alone.", "0.1"},
    {"TUTTI_TIMEOUT", &S::timeout, "300s", "1ms..1000000s", "Deadline of every operation; what has not ended by then ends with an error that names who is missing.", "0.1"},
    {"TUTTI_CONNECT_TIMEOUT", &S::connect_timeout, "60s", "1ms..1000000s", "Deadline for the creation of communicators and links.", "0.1"},
    {"TUTTI_TRANSPORTS", &S::transports, "auto", "auto|self|shm|verbs|ucx|ofi|ncclnet|tcp", "Transports that may be used, the preferred first, the same order in every process; each pair takes the first that both have. auto: self,shm,tcp, and before tcp the one for a NIC for RDMA where there is one, and ncclnet where a plug-in is named (docs/fabrics.md).", "0.1"},
    {"TUTTI_OFI_PROVIDER", &S::ofi_provider, "", "", "Provider of libfabric's for the transport ofi, as fi_info names it, such as efa or tcp; empty takes the best there is.", "0.1"},
    {"TUTTI_OFI_DOMAINS", &S::ofi_domains, "", "", "Domains of that provider to use at once, each of one NIC, as fi_info names them, or all; empty takes the first.", "0.1"},
    {"TUTTI_NCCLNET_PLUGIN", &S::ncclnet_plugin, "", "", "Network plug-in of NCCL's for the transport ncclnet: a path, the name of a library, or NAME for libnccl-net-NAME.so; empty takes that of NCCL_NET_PLUGIN, else libnccl-net.so.", "0.1"},
    {"TUTTI_NCCLNET_DEVICES", &S::ncclnet_devices, "", "", "Devices of the plug-in to use at once, by their names or numbers, such as 0,1, or all; empty takes the first.", "0.1"},
    {"TUTTI_ALGORITHM", &S::algorithm, "", "", "Algorithms to use whatever the planner thinks, such as all_reduce=ring,all_gather=bruck; empty leaves it the choice.", "0.1"},
    {"TUTTI_SEGMENT_BYTES", &S::segment_bytes, "0", "0..1M", "Size of the pieces in which large messages are streamed; 0 lets the planner decide.", "0.1"},
    {"TUTTI_EAGER_BYTES", &S::eager_bytes, "16k", "0..1M", "Largest message that is sent before its receiver has asked for it.", "0.1"},
    {"TUTTI_SHM_BOARD_BYTES", &S::shm_board_bytes, "8k", "0..1M", "Largest message that goes through the flat board that all processes of a host share.", "0.1"},
    {"TUTTI_SHM_STAGING_BYTES", &S::shm_staging_bytes, "4M", "2M..1G", "Shared memory through which copies pass, for each direction of each pair of processes.", "0.1"},
    {"TUTTI_SHM_COPY", &S::shm_copy, "auto", "auto|staging|cma", "How memory that its peers have not mapped is moved: through shared staging memory, by the kernel (cross-memory attach), or whichever is faster.", "0.1"},
    {"TUTTI_TCP_CONNECTIONS", &S::tcp_connections, "0", "0..64", "Connections between two processes; 0 lets the planner decide.", "0.1"},
    {"TUTTI_TCP_INTERFACES", &S::tcp_interfaces, "", "", "Network interfaces to use, such as eth0,eth1, or with ^ those to leave out, such as ^docker0; empty uses all.", "0.1"},
    {"TUTTI_TCP_PORTS", &S::tcp_ports, "", "", "Ports to listen on, such as 40000-41000; empty takes any that is free.", "0.1"},
    {"TUTTI_TCP_BUFFER_BYTES", &S::tcp_buffer_bytes, "0", "0..1G", "Size of the socket buffers; 0 leaves them to the system.", "0.1"},
    {"TUTTI_TCP_RELAY", &S::tcp_relay, "on", "on|off", "Whether two processes that cannot reach each other any more go on through a third one that reaches both, and whether this one stands in for others so.", "0.1"},
    {"TUTTI_RESERVE_CARRIES", &S::reserve_carries, "off", "on|off", "Whether large payloads between two processes that go by verbs, ucx, ofi or ncclnet, with tcp in reserve, also go over tcp, where they arrive sooner: for a network beside the fabric's.", "0.1"},
    {"TUTTI_VERBS_DEVICES", &S::verbs_devices, "", "", "RDMA ports to use, such as mlx5_0 or mlx5_0:1, or with ^ those to leave out; empty uses all that are up.", "0.1"},
    {"TUTTI_VERBS_GID_INDEX", &S::verbs_gid_index, "-1", "-1..255", "Which of a port's GIDs is its address; -1 takes the best one, and a line at level info says why.", "0.1"},
    {"TUTTI_VERBS_TRAFFIC_CLASS", &S::verbs_traffic_class, "0", "0..255", "Traffic class of RDMA packets; on RoCE v2 the IP header's DSCP and ECN.", "0.1"},
    {"TUTTI_VERBS_SERVICE_LEVEL", &S::verbs_service_level, "0", "0..15", "Service level of RDMA packets; on RoCE the VLAN's priority.", "0.1"},
    {"TUTTI_VERBS_CONNECTIONS", &S::verbs_connections, "0", "0..16", "Queue pairs between two processes; 0 takes one for each port.", "0.1"},
    {"TUTTI_VERBS_CONNECT", &S::verbs_connect, "control", "control|rdma_cm", "How queue pairs are connected: by what both sides tell each other over TCP, or by rdma_cm, which needs IP addresses on the ports (RoCE) and librdmacm; the same in all processes.", "0.1"},
    {"TUTTI_VERBS_RING_BYTES", &S::verbs_ring_bytes, "16k", "16k..1M", "Pinned memory that each link receives small frames in, a power of two; frames up to a quarter of it are copied; the same in all processes.", "0.1"},
    {"TUTTI_VERBS_PINNED_BYTES", &S::verbs_pinned_bytes, "8M", "1M..1G", "Memory of messages that a port may have pinned at a time in each direction, beyond what tutti_mem_alloc has given.", "0.1"},
    {"TUTTI_ELASTIC", &S::elastic, "off", "off|on|step", "Whether communicators outlive their members, so that tutti_comm_refresh goes on with those that survive. On: every collective ends the same way on all of them. Step: every tutti_comm_agree does, for all collectives since the last, which cost no more than without.", "0.1"},
    {"TUTTI_ELASTIC_MINIMUM", &S::elastic_minimum, "1", "1..65536", "How many members of an elastic communicator have to be left for it to go on; fewer stop with an error.", "0.1"},
    {"TUTTI_ELASTIC_SLOTS", &S::elastic_slots, "off", "on|off", "Whether ranks of an elastic communicator follow slots, so that who joins takes the place of who was lost, instead of coming last.", "0.1"},
    {"TUTTI_HEARTBEAT_TIMEOUT", &S::heartbeat_timeout, "5s", "100ms..1000000s", "How long a host, or a member that the others need for an agreement, may be silent before it is taken for lost.", "0.1"},
    {"TUTTI_STRAGGLER_TIMEOUT", &S::straggler_timeout, "1500ms", "10ms..1000000s", "How long an operation waits before the ranks that it waits for are reported by name, at level warn and by tutti_comm_stragglers; nothing is ended by that.", "0.1"},
    {"TUTTI_STRAGGLER_POLICY", &S::straggler_policy, "report", "report|exclude", "What follows when a rank stays late: nothing but the report, or, on elastic communicators alone, the others agree to go on without it.", "0.1"},
    {"TUTTI_STRAGGLER_LIMIT", &S::straggler_limit, "60s", "10ms..1000000s", "How long a rank may be late before it is excluded, where the policy says so.", "0.1"},
    {"TUTTI_SPIN", &S::spin, "20us", "0us..10s", "How long a waiting thread spins before it begins to yield its core.", "0.1"},
    {"TUTTI_YIELD", &S::yield, "200us", "0us..10s", "How long it then yields before it sleeps.", "0.1"},
    {"TUTTI_RECORDER", &S::recorder, "on", "on|off", "Whether the flight recorder keeps the last operations in a file that outlives the process.", "0.1"},
    {"TUTTI_RECORDER_DIRECTORY", &S::recorder_directory, "", "", "Directory of the flight recorder's files; empty chooses one.", "0.1"},
    {"TUTTI_RECORDER_ENTRIES", &S::recorder_entries, "4096", "64..16777216", "How many operations the flight recorder keeps.", "0.1"},
    {"TUTTI_RANK", {}, "", "", "Launch: the number of this process, from 0; with TUTTI_SIZE it wins over every launcher's own variables.", "0.1"},
    {"TUTTI_SIZE", {}, "", "", "Launch: the number of processes.", "0.1"},
    {"TUTTI_LOCAL_RANK", {}, "", "", "Launch: the number of this process among those of its host.", "0.1"},
    {"TUTTI_LOCAL_SIZE", {}, "", "", "Launch: the number of processes on this host.", "0.1"},
    {"TUTTI_JOB", {}, "", "", "Launch: a name that all processes of one job share and no later job repeats.", "0.1"},
};
// clang-format on

constexpr std::string_view kTestPrefix = "TUTTI_TEST_";  // the test suite's own switches

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// The whole text as a number without sign, blanks or leading plus; nothing on overflow.
std::optional<std::uint64_t> parse_digits(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> scaled(std::string_view digits, std::uint64_t factor) {
  const auto value = parse_digits(digits);
  if (!value || *value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / factor) return {};
  return *value * factor;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  if (text.empty()) return std::nullopt;
  const std::string_view digits = text.substr(0, text.size() - 1);
  switch (text.back()) {
    case 'k':
    case 'K':
      return scaled(digits, 1ull << 10);
    case 'm':
    case 'M':
      return scaled(digits, 1ull << 20);
    case 'g':
    case 'G':
      return scaled(digits, 1ull << 30);
    default:
      return scaled(text, 1);
  }
}

std::optional<Nanoseconds> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view suffix;
    std::uint64_t nanoseconds;
  };
  for (const Unit unit : {Unit{"us", 1'000}, Unit{"ms", 1'000'000}, Unit{"s", 1'000'000'000}}) {
    if (!text.ends_with(unit.suffix)) continue;
    const auto value = scaled(text.substr(0, text.size() - unit.suffix.size()), unit.nanoseconds);
    if (value) return Nanoseconds(static_cast<std::int64_t>(*value));
  }
  return std::nullopt;
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string words(std::string_view range) {
  std::string text;
  const auto choices = split(range, '|');
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) text += i + 1 == choices.size() ? " or " : ", ";
    text += choices[i];
  }
  return text;
}

Status bad_value(const Setting& row, std::string_view value, std::string_view expected) {
  return {Code::invalid, format("{} is \"{}\"; expected {}", row.name, value, expected)};
}

// Parses `value` with `parse` and holds it against the row's LOW..HIGH.
template <typename T, typename Parse>
Status assign_ranged(const Setting& row, std::string_view value, Parse parse, std::string_view expected, T& field) {
  const auto parsed = parse(value);
  if (!parsed) return bad_value(row, value, expected);
  if (const auto dots = row.range.find(".."); dots != std::string_view::npos) {
    const std::string_view low = row.range.substr(0, dots);
    const std::string_view high = row.range.substr(dots + 2);
    if (*parsed < *parse(low) || *parsed > *parse(high)) {
      return bad_value(row, value, format("a value from {} to {}", low, high));
    }
  }
  field = *parsed;
  return {};
}

// One overload for each type of field.
class Assigner {
 public:
  Assigner(const Setting& row, std::string_view value) : row_(row), value_(value) {}

  Status operator()(bool& field) const {
    if (value_ != "on" && value_ != "off") return bad_value(row_, value_, "on or off");
    field = value_ == "on";
    return {};
  }
  Status operator()(std::int64_t& field) const {
    return assign_ranged(row_, value_, parse_integer, "a whole number", field);
  }
  Status operator()(std::uint64_t& field) const {
    return assign_ranged(row_, value_, parse_size, "bytes such as 65536, 64k or 4M", field);
  }
  Status operator()(Nanoseconds& field) const {
    return assign_ranged(row_, value_, parse_duration, "a duration such as 20us, 5ms or 30s", field);
  }
  Status operator()(std::string& field) const {
    field = value_;
    return {};
  }
  Status operator()(LogLevel& field) const { return assign_choice(field); }
  Status operator()(ShmCopy& field) const { return assign_choice(field); }
  Status operator()(VerbsConnect& field) const { return assign_choice(field); }
  Status operator()(StragglerAction& field) const { return assign_choice(field); }
  Status operator()(Elastic& field) const { return assign_choice(field); }
  Status operator()(TlsMode& field) const { return assign_choice(field); }

  Status operator()(std::vector<std::string>& field) const {
    std::vector<std::string> items;
    if (value_.empty() && row_.default_text.empty()) {
      field.clear();
      return {};
    }
    const auto choices = split(row_.range, '|');
    for (const std::string_view item : split(value_, ',')) {
      if (item.empty()) return bad_value(row_, value_, "names separated by single commas");
      if (!row_.range.empty() && std::find(choices.begin(), choices.end(), item) == choices.end()) {
        return bad_value(row_, value_, format("a list of {} separated by commas", words(row_.range)));
      }
      if (std::find(items.begin(), items.end(), item) != items.end()) {
        return bad_value(row_, value_, format("each name once, not {} twice", item));
      }
      items.emplace_back(item);
    }
    field = std::move(items);
    return {};
  }

  Status operator()(PortRange& field) const {
    if (value_.empty()) {
      field = {};
      return {};
    }
    const auto parts = split(value_, '-');
    const auto first = parse_digits(parts.front());
    const auto last = parse_digits(parts.back());
    if (parts.size() > 2 || !first || !last || *first == 0 || *first > *last || *last > 65535) {
      return bad_value(row_, value_, "ports such as 40000-41000");
    }
    field = {static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
    return {};
  }

 private:
  template <typename Enum>
  Status assign_choice(Enum& field) const {
    const auto choices = split(row_.range, '|');
    const auto found = std::find(choices.begin(), choices.end(), value_);
    if (found == choices.end()) return bad_value(row_, value_, words(row_.range));
    field = static_cast<Enum>(found - choices.begin());
    return {};
  }

  const Setting& row_;
  std::string_view value_;
};

Status assign(const Setting& row, std::string_view value, Settings& settings) {
  return std::visit(
      [&](auto member) -> Status {
        if constexpr (std::is_same_v<decltype(member), std::monostate>) {
          return {};
        } else {
          return Assigner(row, value)(settings.*member);
        }
      },
      row.field);
}

std::optional<std::size_t> find_row(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kTable); ++i) {
    if (kTable[i].name == name) return i;
  }
  return std::nullopt;
}

// Levenshtein's distance: insertions, deletions and replacements that turn one into the other.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// "NAME is not a setting of Tutti 0.1; did you mean ...?"
std::string unknown_name(std::string_view name) {
  constexpr std::size_t kLongestCompared = 64;  // a longer name is no typing error, and the comparison is quadratic
  constexpr std::size_t kFarthest = 4;
  std::string text = format("{} is not a setting of Tutti {}", name.substr(0, 2 * kLongestCompared), TUTTI_SERIES);
  if (name.size() > kLongestCompared) return text;
  std::size_t best = kFarthest + 1;
  std::string_view nearest;
  for (const Setting& row : kTable) {
    if (const std::size_t distance = edit_distance(name, row.name); distance < best) {
      best = distance;
      nearest = row.name;
    }
  }
  if (!nearest.empty()) text += format("; did you mean {}?", nearest);
  return text;
}

Status read_environment(const char* const* environment, Settings& settings) {
  std::vector<bool> seen(std::size(kTable));
  for (; environment && *environment; ++environment) {
    const std::string_view entry = *environment;
    const auto equals = entry.find('=');
    if (!entry.starts_with("TUTTI_") || equals == std::string_view::npos) continue;
    const std::string_view name = entry.substr(0, equals);
    if (name.starts_with(kTestPrefix)) continue;
    const auto index = find_row(name);
    if (!index) {
      const std::string text = unknown_name(name);
      settings.warnings.push_back(text + (text.ends_with('?') ? " Ignored." : ". Ignored."));
      continue;
    }
    if (seen[*index]) continue;  // as getenv: the first of equal names counts
    seen[*index] = true;
    TUTTI_RETURN_IF_ERROR(assign(kTable[*index], entry.substr(equals + 1), settings));
    settings.origins[*index] = Origin::environment;
  }
  return {};
}

Status read_overrides(std::span<const std::string> overrides, Settings& settings) {
  for (const std::string& entry : overrides) {
    const auto equals = entry.find('=');
    if (equals == std::string::npos) {
      return {Code::invalid, format("option \"{}\" has no value; expected NAME=VALUE", entry)};
    }
    const std::string_view name = std::string_view(entry).substr(0, equals);
    const auto index = find_row(name);
    if (!index) return {Code::invalid, unknown_name(name)};
    if (std::holds_alternative<std::monostate>(kTable[*index].field)) {
      return {Code::invalid, format("{} belongs to the launch environment and cannot be given as an option", name)};
    }
    TUTTI_RETURN_IF_ERROR(assign(kTable[*index], std::string_view(entry).substr(equals + 1), settings));
    settings.origins[*index] = Origin::option;
  }
  return {};
}

}  // namespace

Settings::Settings() : origins(std::size(kTable), Origin::built_in) {
  for (const Setting& row : kTable) {
    if (const Status status = assign(row, row.default_text, *this); !status) {
      throw std::logic_error("the table of settings has a bad default: " + status.text());
    }
  }
}

std::span<const Setting> settings_table() { return kTable; }

Result<Settings> read_settings(const char* const* environment, std::span<const std::string> overrides) {
  Settings settings;
  TUTTI_RETURN_IF_ERROR(read_environment(environment, settings));
  TUTTI_RETURN_IF_ERROR(read_overrides(overrides, settings));
  if (!settings.secret.empty() && !settings.secret_file.empty()) {
    return Status(Code::invalid, "TUTTI_SECRET and TUTTI_SECRET_FILE are both set; expected one of them");
  }
  if (settings.transports.size() > 1 &&
      std::find(settings.transports.begin(), settings.transports.end(), "auto") != settings.transports.end()) {
    return Status(Code::invalid, "TUTTI_TRANSPORTS has auto beside other names; expected auto alone");
  }
  if (settings.straggler_policy == StragglerAction::exclude && settings.elastic == Elastic::off) {
    return Status(Code::invalid,
                  "TUTTI_STRAGGLER_POLICY is exclude, which needs TUTTI_ELASTIC=on: nobody can be left out of other "
                  "communicators");
  }
  return settings;
}

std::vector<std::string> split_overrides(std::string_view options) {
  std::vector<std::string> parts;
  for (std::string_view part : split(options, ';')) {
    const auto first = part.find_first_not_of(" \t\n");
    if (first == std::string_view::npos) continue;
    parts.emplace_back(part.substr(first, part.find_last_not_of(" \t\n") - first + 1));
  }
  return parts;
}

}  // namespace tutti
