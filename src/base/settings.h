// Settings: every knob of Tutti is one row of one table (settings.cc) and one typed field here. They are read once,
// when the library is created, first from the caller's option string, then from the environment, then from the
// default, and are constant from then on; each remembers where it came from. Parsing is strict: a bad value is an
// error that names the setting, the value and what was expected; an unknown TUTTI_ variable is a warning with the
// nearest name.
//
// To add a setting: one field below and one line in the table. docs/settings.md is rendered from the table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/status.h"

namespace tutti {

enum class Origin : std::uint8_t { built_in, environment, option };

// What protects the connections of a job, beyond the proof of the secret.
enum class TlsMode : std::uint8_t { off, psk, certificates };

// How shared memory moves what its peers have not mapped.
enum class ShmCopy : std::uint8_t { automatic, staging, cma };

// How queue pairs are connected: by what both sides tell each other, or by the RDMA connection manager.
enum class VerbsConnect : std::uint8_t { control, rdma_cm };

// What is done about ranks that are late for long.
enum class StragglerAction : std::uint8_t { report, exclude };

// Whether communicators outlive their members, and when outcomes are certain: of each operation, or at each agree.
enum class Elastic : std::uint8_t { off, on, step };

// Inclusive; both zero means "any".
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  bool operator==(const PortRange&) const = default;
  bool any() const { return last == 0; }
};

// A Settings made without arguments holds the defaults of the table. Sizes are bytes.
struct Settings {
  Settings();

  LogLevel log;
  std::string log_file;
  std::string events;

  std::string store;
  std::string secret;
  std::string secret_file;
  TlsMode tls;
  std::string tls_certificate;
  std::string tls_key;
  std::string tls_authority;
  std::string etcd_user;
  std::string etcd_password_file;
  std::string etcd_authority;
  std::string etcd_certificate;
  std::string etcd_key;
  Nanoseconds timeout;
  Nanoseconds connect_timeout;

  std::vector<std::string> transports;
  std::string ofi_provider;
  std::vector<std::string> ofi_domains;
  std::string ncclnet_plugin;
  std::vector<std::string> ncclnet_devices;
  std::string algorithm;
  std::uint64_t segment_bytes;
  std::uint64_t eager_bytes;

  std::uint64_t shm_board_bytes;
  std::uint64_t shm_staging_bytes;
  ShmCopy shm_copy;

  std::int64_t tcp_connections;
  std::vector<std::string> tcp_interfaces;
  PortRange tcp_ports;
  std::uint64_t tcp_buffer_bytes;
  bool tcp_relay;
  bool reserve_carries;

  std::vector<std::string> verbs_devices;
  std::int64_t verbs_gid_index;
  std::int64_t verbs_traffic_class;
  std::int64_t verbs_service_level;
  std::int64_t verbs_connections;
  VerbsConnect verbs_connect;
  std::uint64_t verbs_ring_bytes;
  std::uint64_t verbs_pinned_bytes;

  Elastic elastic;
  std::int64_t elastic_minimum;
  bool elastic_slots;
  Nanoseconds heartbeat_timeout;
  Nanoseconds straggler_timeout;
  StragglerAction straggler_policy;
  Nanoseconds straggler_limit;
  Nanoseconds spin;
  Nanoseconds yield;

  bool recorder;
  std::string recorder_directory;
  std::int64_t recorder_entries;

  // One for each row of settings_table(), in its order.
  std::vector<Origin> origins;
  // Sentences about ignored variables, for whoever builds the log from these settings to write at level warn.
  std::vector<std::string> warnings;
};

// The type of the field is the type of the setting. A row without a field documents a variable that is read elsewhere
// (the launch variables, src/membership/environment.h) and is accepted without a look at its value.
using SettingField =
    std::variant<std::monostate, bool Settings::*, std::int64_t Settings::*, std::uint64_t Settings::*,
                 Nanoseconds Settings::*, std::string Settings::*, std::vector<std::string> Settings::*,
                 LogLevel Settings::*, ShmCopy Settings::*, VerbsConnect Settings::*, Elastic Settings::*,
                 TlsMode Settings::*, StragglerAction Settings::*, PortRange Settings::*>;

struct Setting {
  std::string_view name;
  SettingField field;
  std::string_view default_text;  // parsed as if the user had written it
  std::string_view range;         // "LOW..HIGH" in the setting's own units, or the words "a|b|c", or empty
  std::string_view sentence;
  std::string_view since;
};

std::span<const Setting> settings_table();

// Reads all settings. `environment` is a null-terminated array of NAME=VALUE as environ is (null means empty);
// `overrides` are NAME=VALUE and win over it, the last of equal names counts. An unknown name among the overrides is
// an error, since somebody wrote it for Tutti; in the environment it becomes one of `warnings`.
Result<Settings> read_settings(const char* const* environment, std::span<const std::string> overrides = {});

// Splits "NAME=VALUE;NAME=VALUE" (an option string) at semicolons; blanks around the parts are dropped.
std::vector<std::string> split_overrides(std::string_view options);

// One line for each setting: name, value, where it came from. The secret is not shown, only whether there is one.
std::string describe(const Settings& settings);

// docs/settings.md.
std::string settings_page();

}  // namespace tutti
