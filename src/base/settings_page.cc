// How settings are shown to people: the listing of one Settings, and the page of the whole table.
#include <type_traits>

#include "src/base/format.h"
#include "src/base/settings.h"

namespace tutti {

namespace {

std::string join(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ",") + item;
  return text;
}

// The n-th word of "a|b|c".
std::string choice(std::string_view range, std::size_t index) {
  for (; index > 0; --index) range.remove_prefix(range.find('|') + 1);
  return std::string(range.substr(0, range.find('|')));
}

std::string value_text(const Setting& row, const Settings& settings) {
  return std::visit(
      [&](auto member) -> std::string {
        if constexpr (std::is_same_v<decltype(member), std::monostate>) {
          return "";
        } else {
          const auto& value = settings.*member;
          using T = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::is_same_v<T, bool>)
            return value ? "on" : "off";
          else if constexpr (std::is_same_v<T, std::int64_t>)
            return format("{}", value);
          else if constexpr (std::is_same_v<T, std::uint64_t>)
            return format_bytes(value);
          else if constexpr (std::is_same_v<T, Nanoseconds>)
            return format_duration(value);
          else if constexpr (std::is_same_v<T, std::string>)
            return value;
          else if constexpr (std::is_same_v<T, std::vector<std::string>>)
            return join(value);
          else if constexpr (std::is_same_v<T, PortRange>)
            return value.any() ? "" : format("{}-{}", value.first, value.last);
          else
            return choice(row.range, static_cast<std::size_t>(value));
        }
      },
      row.field);
}

std::string_view origin_text(Origin origin) {
  switch (origin) {
    case Origin::built_in:
      return "default";
    case Origin::environment:
      return "environment";
    case Origin::option:
      return "option";
  }
  return "";
}

struct TypeName {
  std::string operator()(std::monostate) const { return "text"; }
  std::string operator()(bool Settings::*) const { return "on or off"; }
  std::string operator()(std::int64_t Settings::*) const { return "integer"; }
  std::string operator()(std::uint64_t Settings::*) const { return "size"; }
  std::string operator()(Nanoseconds Settings::*) const { return "duration"; }
  std::string operator()(std::string Settings::*) const { return "text"; }
  std::string operator()(std::vector<std::string> Settings::*) const { return "list"; }
  std::string operator()(LogLevel Settings::*) const { return "one of"; }
  std::string operator()(ShmCopy Settings::*) const { return "one of"; }
  std::string operator()(VerbsConnect Settings::*) const { return "one of"; }
  std::string operator()(StragglerAction Settings::*) const { return "one of"; }
  std::string operator()(Elastic Settings::*) const { return "one of"; }
  std::string operator()(TlsMode Settings::*) const { return "one of"; }
  std::string operator()(PortRange Settings::*) const { return "ports"; }
};

std::string range_text(std::string_view range) {
  std::string text;
  for (const char c : range) {
    if (c == '|') {
      text += ", ";
    } else {
      text += c;
    }
  }
  if (const auto dots = text.find(".."); dots != std::string::npos) text.replace(dots, 2, " to ");
  return text;
}

std::string page_row(const Setting& row) {
  const std::string shown = row.default_text.empty() ? "" : format("`{}`", row.default_text);
  return format("| `{}` | {} | {} | {} | {} | {} |\n", row.name, std::visit(TypeName{}, row.field), shown,
                range_text(row.range), row.sentence, row.since);
}

}  // namespace

std::string describe(const Settings& settings) {
  std::string text;
  const auto table = settings_table();
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (std::holds_alternative<std::monostate>(table[i].field)) continue;
    std::string value = value_text(table[i], settings);
    if (table[i].name == "TUTTI_SECRET" && !value.empty()) value = "(set, not shown)";
    text += format("{:<26} {:<24} {}\n", table[i].name, value.empty() ? "(empty)" : value,
                   origin_text(settings.origins[i]));
  }
  return text;
}

std::string settings_page() {
  std::string text =
      "# Settings\n"
      "\n"
      "<!-- Rendered from the table in src/base/settings.cc. Do not edit; run: TUTTI_TEST_REWRITE=1 test_settings "
      "-->\n"
      "\n"
      "Each setting is read once, when the library is created: from the option string of the call, else from the\n"
      "environment, else from the default. A bad value is an error that names the setting; an unknown `TUTTI_` "
      "variable\n"
      "is a warning with the nearest name.\n"
      "\n"
      "Types: *on or off* is exactly that; a *size* is bytes such as `65536`, `64k`, `4M` or `1G` (1k is 1024); a\n"
      "*duration* has its unit, such as `20us`, `5ms` or `30s`; a *list* is separated by commas without blanks; "
      "*ports*\n"
      "are one port or a range such as `40000-41000`.\n"
      "\n"
      "| name | type | default | range | what it does | since |\n"
      "|---|---|---|---|---|---|\n";
  for (const Setting& row : settings_table()) text += page_row(row);
  return text;
}

}  // namespace tutti
