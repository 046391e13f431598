// The parser of the format in print.h: a line at a time, a word at a time. Every number is checked against its type;
// it never allocates by what a number says.
#include <charconv>
#include <optional>

#include "src/base/format.h"
#include "src/schedule/builder.h"
#include "src/schedule/print.h"

namespace tutti {
namespace {

constexpr std::string_view kBlanks = " \t\r";

// The words of one line. A word ends at a blank or a comma; a comma is a word of its own.
class Words {
 public:
  explicit Words(std::string_view line) : rest_(line) { skip_blanks(); }

  bool done() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  std::string_view peek() const {
    if (!rest_.empty() && rest_[0] == ',') return rest_.substr(0, 1);
    return rest_.substr(0, rest_.find_first_of(" \t\r,"));
  }
  std::string_view take() {
    const std::string_view word = peek();
    rest_.remove_prefix(word.size());
    skip_blanks();
    return word;
  }
  bool take_if(std::string_view word) {
    if (peek() != word || done()) return false;
    take();
    return true;
  }

 private:
  void skip_blanks() { rest_.remove_prefix(std::min(rest_.find_first_not_of(kBlanks), rest_.size())); }

  std::string_view rest_;
};

template <typename Number>
std::optional<Number> number(std::string_view word) {
  Number value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

// Cuts `text` at the first `mark`: returns what is before it and leaves what is after. Nothing where there is no
// mark.
std::optional<std::string_view> cut(std::string_view& text, std::string_view mark) {
  const auto at = text.find(mark);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view before = text.substr(0, at);
  text.remove_prefix(at + mark.size());
  return before;
}

std::optional<Buffer> buffer_called(std::string_view word) {
  for (const Buffer buffer : {Buffer::input, Buffer::output, Buffer::scratch}) {
    if (name(buffer) == word) return buffer;
  }
  return std::nullopt;
}

std::optional<Collective> collective_called(std::string_view word) {
  for (int i = 0; i <= static_cast<int>(Collective::scatter); ++i) {
    if (name(static_cast<Collective>(i)) == word) return static_cast<Collective>(i);
  }
  return std::nullopt;
}

std::optional<StepKind> kind_called(std::string_view word) {
  for (const StepKind kind : {StepKind::send, StepKind::receive, StepKind::reduce, StepKind::copy}) {
    if (name(kind) == word) return kind;
  }
  return std::nullopt;
}

// input[2+3](0..4)/4
std::optional<View> view_of(std::string_view word) {
  View view;
  const auto buffer_word = cut(word, "[");
  auto block_word = cut(word, "]");
  if (!buffer_word || !block_word) return std::nullopt;
  const auto first = cut(*block_word, "+");
  const auto blocks = first ? number<std::uint32_t>(*block_word) : 1;
  const auto block = number<std::uint32_t>(first ? *first : *block_word);
  const auto buffer = buffer_called(*buffer_word);
  if (!buffer || !block || !blocks) return std::nullopt;
  view.buffer = *buffer, view.block = *block, view.blocks = *blocks;
  if (word.empty()) return view;
  if (word[0] != '(') return std::nullopt;
  word.remove_prefix(1);
  const auto lo_word = cut(word, "..");
  const auto hi_word = cut(word, ")/");
  if (!lo_word || !hi_word) return std::nullopt;
  const auto lo = number<std::uint32_t>(*lo_word);
  const auto hi = number<std::uint32_t>(*hi_word);
  const auto den = number<std::uint32_t>(word);
  if (!lo || !hi || !den) return std::nullopt;
  view.lo = *lo, view.hi = *hi, view.den = *den;
  return view;
}

class Parser {
 public:
  Result<Schedule> parse(std::string_view text) {
    bool titled = false;
    while (!text.empty()) {
      ++line_;
      const auto end = std::min(text.find('\n'), text.size());
      Words words(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
      if (words.done() || words.peek()[0] == '#') continue;
      if (!titled) {
        if (!words.take_if("tutti") || !words.take_if("schedule") || !words.take_if("1") || !words.done()) {
          return wrong("\"tutti schedule 1\"", words);
        }
        titled = true;
        continue;
      }
      TUTTI_RETURN_IF_ERROR(parse_line(words));
    }
    if (!titled) return Status(Code::invalid, "schedule not read: the text is empty; expected \"tutti schedule 1\"");
    return std::move(schedule_);
  }

 private:
  Status wrong(std::string_view expected, const Words& words) const {
    constexpr std::size_t kQuoted = 60;
    std::string found(words.rest().substr(0, kQuoted));
    for (char& c : found) {
      if (c < ' ' || c > '~') c = '?';
    }
    if (words.rest().size() > kQuoted) found += "...";
    return Status(Code::invalid, format("schedule not read: line {}: expected {}, found {}", line_, expected,
                                        found.empty() ? "the end of the line" : "\"" + found + "\""));
  }

  Status parse_line(Words& words) {
    if (words.take_if("program")) return parse_program(words);
    if (schedule_.programs.empty()) return wrong("\"program\"", words);
    if (words.take_if("scratch")) {
      TUTTI_RETURN_IF_ERROR(take_view(words, schedule_.programs.back().scratch.emplace_back()));
      return words.done() ? Status() : wrong("the end of the line", words);
    }
    return parse_step(words, schedule_.programs.back());
  }

  Status parse_program(Words& words) {
    Program& program = schedule_.programs.emplace_back();
    const auto what = collective_called(words.peek());
    if (!what) return wrong("the name of a collective, such as all_reduce", words);
    words.take();
    program.call.what = *what;
    TUTTI_RETURN_IF_ERROR(take_labelled(words, "rank", program.call.rank));
    TUTTI_RETURN_IF_ERROR(take_labelled(words, "of", program.call.ranks));
    TUTTI_RETURN_IF_ERROR(take_labelled(words, "root", program.call.root));
    program.call.in_place = words.take_if("in_place");
    return words.done() ? Status() : wrong("\"in_place\" or the end of the line", words);
  }

  Status take_labelled(Words& words, std::string_view label, Rank& value) {
    if (!words.take_if(label)) return wrong(format("\"{}\"", label), words);
    const auto found = number<Rank>(words.peek());
    if (!found) return wrong("a rank or a number of ranks", words);
    words.take();
    value = *found;
    return Status();
  }

  Status take_view(Words& words, View& view) {
    const auto found = view_of(words.peek());
    if (!found) return wrong("a view, such as input[0](1..2)/4", words);
    words.take();
    view = *found;
    return Status();
  }

  Status parse_step(Words& words, Program& program) {
    const auto id = number<StepId>(words.peek());
    if (!id || *id != program.steps.size()) return wrong(format("step {}", program.steps.size()), words);
    words.take();
    Step step;
    const auto kind = kind_called(words.peek());
    if (!kind) return wrong("send, receive, reduce or copy", words);
    words.take();
    step.kind = *kind;
    TUTTI_RETURN_IF_ERROR(take_view(words, step.kind == StepKind::send ? step.source : step.target));
    switch (step.kind) {
      case StepKind::send:
        TUTTI_RETURN_IF_ERROR(take_peers(words, "to", program, step));
        break;
      case StepKind::receive:
        TUTTI_RETURN_IF_ERROR(take_peers(words, "from", program, step));
        break;
      case StepKind::reduce:
        TUTTI_RETURN_IF_ERROR(take_operands(words, program, step));
        break;
      case StepKind::copy:
        if (!words.take_if("of")) return wrong("\"of\"", words);
        TUTTI_RETURN_IF_ERROR(take_view(words, step.source));
        break;
    }
    step.finish = words.take_if("finish");
    if (words.take_if("after")) TUTTI_RETURN_IF_ERROR(take_numbers(words, program.after, step.after));
    if (!words.done()) return wrong("\"finish\", \"after\" or the end of the line", words);
    program.steps.push_back(step);
    return Status();
  }

  // One number or more, up to the first word that is none.
  template <typename Number>
  Status take_numbers(Words& words, std::vector<Number>& to, Range& range) {
    std::vector<Number> found;
    while (const auto value = number<Number>(words.peek())) {
      found.push_back(*value);
      words.take();
    }
    if (found.empty()) return wrong("a number", words);
    range = append(to, std::span<const Number>(found));
    return Status();
  }

  Status take_peers(Words& words, std::string_view label, Program& program, Step& step) {
    if (!words.take_if(label)) return wrong(format("\"{}\"", label), words);
    return take_numbers(words, program.peers, step.peers);
  }

  Status take_operands(Words& words, Program& program, Step& step) {
    if (!words.take_if("of")) return wrong("\"of\"", words);
    std::vector<Operand> operands;
    do {
      Operand& operand = operands.emplace_back();
      if (words.peek() == "rank") {
        TUTTI_RETURN_IF_ERROR(take_labelled(words, "rank", operand.peer));
        if (operand.peer == Operand::kLocal) return wrong("a rank that is not negative before this", words);
      } else {
        TUTTI_RETURN_IF_ERROR(take_view(words, operand.view));
      }
    } while (words.take_if(","));
    step.operands = append(program.operands, std::span<const Operand>(operands));
    return Status();
  }

  Schedule schedule_;
  std::size_t line_ = 0;
};

}  // namespace

Result<Schedule> parse(std::string_view text) { return Parser().parse(text); }

}  // namespace tutti
