// make_log: the Log that a process writes to, built from its settings. Lines go to TUTTI_LOG_FILE, or to the caller's
// hook, or to standard error; the same events go as JSON, one object a line, to TUTTI_EVENTS where that is set.
//
//   2026-11-21T07:45:12.123456Z node07 4711 warn tcp: eth1 -> eth0 carries 1.1 Gbit/s, 12 % of its measured 9.2
//   {"time":"2026-11-21T07:45:12.123456Z","host":"node07","pid":4711,"level":"warn","area":"tcp","text":"..."}
//
// Each line is one write() to a file opened for appending, so lines of threads and processes do not mix. Control
// characters are shown as \xNN: what a stranger sends cannot forge a line. A line that cannot be written is dropped;
// a log never stops the work. Thread-safe; copies of the Log share the files, the last closes them.
#pragma once

#include <string>
#include <string_view>

#include "src/base/log.h"
#include "src/base/settings.h"
#include "src/base/status.h"

namespace tutti {

// What a C caller hands in. Called from any thread, several at a time; must not call back into Tutti.
struct LogHook {
  void (*function)(void* user, int level, const char* area, const char* text) = nullptr;
  void* user = nullptr;
};

// With a hook, lines go to it and not to standard error; files named by the settings are written all the same.
// Fails where a file cannot be opened.
Result<Log> make_log(const Settings& settings, LogHook hook = {});

std::string_view name(LogLevel level);  // "error", "warn", ...

}  // namespace tutti
