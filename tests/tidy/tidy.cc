#include "tests/tidy/tidy.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::size_t kColumnsMax = 120;
constexpr std::size_t kLinesMax = 600;

// Written in two halves so that this file does not accuse itself.
constexpr std::array<std::string_view, 4> kLeftovers = {
    "TO"
    "DO",
    "FIX"
    "ME",
    "XX"
    "X",
    "HA"
    "CK"};

constexpr std::array<std::string_view, 26> kForbiddenCalls = {
    "abort", "alloca", "atof",   "atoi",    "atol",   "atoll",      "exit",     "_exit",   "fprintf",
    "gets",  "perror", "printf", "putchar", "putenv", "puts",       "rand",     "setenv",  "sprintf",
    "srand", "strcat", "strcpy", "strtok",  "system", "quick_exit", "unsetenv", "vsprintf"};
constexpr std::array<std::string_view, 3> kForbiddenStreams = {"std::cout", "std::cerr", "std::clog"};

constexpr std::array<std::string_view, 3> kLibrary = {"src/", "transports/", "algorithms/"};
constexpr std::array<std::string_view, 9> kClockless = {"algorithms/",     "src/schedule/",    "src/planning/",
                                                        "src/memory/",     "src/transport/",   "src/engine/",
                                                        "transports/sim/", "transports/self/", "transports/fault/"};
constexpr std::array<std::string_view, 7> kClocks = {
    "monotonic_now", "clock_gettime", "gettimeofday", "random_device", "getrandom", "getentropy", "time"};

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

template <typename Prefixes>
bool starts_with_any(std::string_view path, const Prefixes& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view p) { return path.starts_with(p); });
}

// Calls `act(position)` for each place where `word` stands by itself.
template <typename Act>
void for_each_word(std::string_view text, std::string_view word, Act&& act) {
  for (std::size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) act(at);
  }
}

// The text with comments and the insides of strings blanked out, line breaks kept.
std::string code_only(std::string_view text) {
  std::string code(text);
  enum { plain, line_comment, block_comment, string, character } state = plain;
  for (std::size_t i = 0; i < code.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    const char c = text[i];
    if (state == plain) {
      const bool is_digit_separator = c == '\'' && i > 0 && is_word(text[i - 1]);
      if (c == '/' && next == '/') state = line_comment;
      if (c == '/' && next == '*') state = block_comment;
      if (c == '"') state = string;
      if (c == '\'' && !is_digit_separator) state = character;
      if (state == line_comment || state == block_comment) code[i] = ' ';
      continue;
    }
    if (c == '\n') {
      if (state != block_comment) state = plain;
      continue;
    }
    code[i] = ' ';
    if ((state == string || state == character) && c == '\\') {
      if (++i < code.size() && code[i] != '\n') code[i] = ' ';
    } else if ((state == string && c == '"') || (state == character && c == '\'')) {
      state = plain;
    } else if (state == block_comment && c == '*' && next == '/') {
      code[++i] = ' ';
      state = plain;
    }
  }
  return code;
}

// Whether the name at `at` is called as a function of the system's: not a member, not another's, not declared here.
bool is_system_call(std::string_view code, std::size_t at, std::size_t length) {
  std::size_t end = at + length;
  while (end < code.size() && code[end] == ' ') ++end;
  if (end == code.size() || code[end] != '(') return false;
  std::size_t before = at;
  while (before > 0 && code[before - 1] == ' ') --before;
  if (before == 0) return true;
  const char last = code[before - 1];
  if (last == '.' || (last == '>' && before > 1 && code[before - 2] == '-')) return false;
  const bool is_qualified = last == ':' && before > 1 && code[before - 2] == ':';
  if (is_qualified) before -= 2;
  std::size_t begin = before;
  while (begin > 0 && is_word(code[begin - 1])) --begin;
  const std::string_view word = code.substr(begin, before - begin);
  if (is_qualified) return word.empty() || word == "std";
  return word.empty() || word == "return" || word == "else" || word == "do";
}

std::size_t line_of(std::string_view text, std::size_t at) {
  return 1 + static_cast<std::size_t>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
}

// Columns as a reader counts them: a character of UTF-8 is one.
std::size_t columns(std::string_view line) {
  return static_cast<std::size_t>(
      std::count_if(line.begin(), line.end(), [](char c) { return (static_cast<std::uint8_t>(c) & 0xc0) != 0x80; }));
}

class Reader {
 public:
  Reader(std::string_view path, std::string_view text) : path_(path), text_(text), code_(code_only(text)) {}

  void read_lines() {
    std::size_t number = 0;
    bool is_table = false;
    for (std::size_t begin = 0; begin < text_.size();) {
      const std::size_t end = std::min(text_.find('\n', begin), text_.size());
      const std::string_view line = text_.substr(begin, end - begin);
      ++number;
      if (line.find("clang-format off") != std::string_view::npos) is_table = true;
      if (line.find("clang-format on") != std::string_view::npos) is_table = false;
      if (columns(line) > kColumnsMax && !is_table)
        say(number, format("{} columns; {} are allowed", columns(line), kColumnsMax));
      if (line.find('\t') != std::string_view::npos) say(number, "a tab");
      if (line.find('\r') != std::string_view::npos) say(number, "a carriage return");
      if (line.ends_with(' ')) say(number, "blanks at the end");
      begin = end + 1;
    }
    if (number > kLinesMax) say(number, format("{} lines; {} are allowed", number, kLinesMax));
    if (!text_.ends_with('\n')) say(number, "no newline at the end");
    for (const std::string_view leftover : kLeftovers) {
      for_each_word(text_, leftover, [&](std::size_t at) { say(line_of(text_, at), format("a {}", leftover)); });
    }
  }

  void read_opening(bool has_header) {
    if (text_.starts_with("//") || text_.starts_with("/*")) return;
    const std::size_t slash = path_.rfind('/');
    const std::size_t dot = path_.rfind('.');
    const std::string header = format("#include \"{}.h\"", path_.substr(0, dot));
    if (has_header && text_.starts_with(header)) return;
    say(1, format("does not open with a comment that says what it is{}",
                  has_header ? format(", nor with {}.h", path_.substr(slash + 1, dot - slash - 1)) : ""));
  }

  void read_header() {
    if (code_.find("#pragma once") == std::string::npos && code_.find("#ifndef ") == std::string::npos &&
        code_.find("HWY_TARGET_TOGGLE") == std::string::npos) {
      say(1, "a header without #pragma once");
    }
    for_each_word(code_, "using namespace",
                  [&](std::size_t at) { say(line_of(code_, at), "using namespace in a header"); });
  }

  void read_calls() {
    if (starts_with_any(path_, kLibrary)) {
      forbid(kForbiddenCalls, "a library does not call {}");
      for (const std::string_view stream : kForbiddenStreams) {
        for_each_word(code_, stream,
                      [&](std::size_t at) { say(line_of(code_, at), format("a library does not use {}", stream)); });
      }
    }
    if (starts_with_any(path_, kClockless)) forbid(kClocks, "time and chance are arguments here; this calls {}");
  }

  std::vector<std::string> take() { return std::move(said_); }

 private:
  template <typename Names>
  void forbid(const Names& names, std::string_view sentence) {
    const std::size_t hole = sentence.find("{}");
    for (const std::string_view name : names) {
      for_each_word(code_, name, [&](std::size_t at) {
        if (!is_system_call(code_, at, name.size())) return;
        say(line_of(code_, at), format("{}{}{}", sentence.substr(0, hole), name, sentence.substr(hole + 2)));
      });
    }
  }

  void say(std::size_t line, std::string_view what) { said_.push_back(format("{}:{}: {}", path_, line, what)); }

  std::string_view path_;
  std::string_view text_;
  std::string code_;
  std::vector<std::string> said_;
};

}  // namespace

std::vector<std::string> breaches(std::string_view path, std::string_view text, bool has_header) {
  Reader reader(path, text);
  reader.read_lines();
  reader.read_opening(has_header);
  if (path.ends_with(".h") || path.ends_with(".hpp")) reader.read_header();
  reader.read_calls();
  return reader.take();
}

}  // namespace tutti
