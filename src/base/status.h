// Status and Result: how everything inside Tutti reports failure.
//
// A Status is ok (a null pointer: one word, free to copy) or carries a code that answers "what do I do now?", the
// rank that is to blame where one is known, and one English sentence with values and units (docs/errors.md has the
// five parts). Callers add context with `Status::prefixed`, they never replace the cause. A Result<T> is a T or a
// Status that is not ok. Both are plain values: immutable after construction, safe to copy between threads.
#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace tutti {

// The numbers are those of tutti_status in tutti.h and never change.
enum class Code : std::int32_t {
  ok = 0,
  again = 1,        // nothing was taken; call again later
  invalid = 2,      // the call or a setting is wrong
  unsupported = 3,  // right, but not available here
  timeout = 4,      // the deadline passed
  peer_lost = 5,    // another process or the link to it is gone
  aborted = 6,      // somebody asked for it
  system = 7,       // the operating system or a driver refused
  internal = 8,     // a bug in Tutti
};

std::string_view name(Code code);  // "OK", "INVALID", ...

class [[nodiscard]] Status {
 public:
  static constexpr int kNobody = -1;

  Status() = default;
  Status(Code code, std::string text, int culprit = kNobody);

  static Status ok() { return {}; }
  // "CONTEXT: <strerror(error)> (ENAME, number)": the system's own words. `error` is an errno value.
  static Status from_errno(int error, std::string_view context);

  bool is_ok() const { return rep_ == nullptr; }
  explicit operator bool() const { return is_ok(); }
  Code code() const { return rep_ ? rep_->code : Code::ok; }
  const std::string& text() const;  // empty when ok
  int culprit() const { return rep_ ? rep_->culprit : kNobody; }

  Status prefixed(std::string_view context) const;  // "context: text", same code and culprit; ok stays ok
  Status blaming(int rank) const;                   // same text, culprit set

 private:
  struct Rep {
    Code code;
    int culprit;
    std::string text;
  };
  std::shared_ptr<const Rep> rep_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}        // NOLINT: a value is a result
  Result(Status status) : state_(std::move(status)) {  // NOLINT: an error is a result
    if (std::get<Status>(state_).is_ok()) state_ = Status(Code::internal, "a Result was made from an ok Status");
  }

  bool is_ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return is_ok(); }
  Status status() const { return is_ok() ? Status() : std::get<Status>(state_); }

  // REQUIRES: is_ok()
  T& operator*() & { return std::get<T>(state_); }
  const T& operator*() const& { return std::get<T>(state_); }
  T&& operator*() && { return std::get<T>(std::move(state_)); }
  T* operator->() { return &std::get<T>(state_); }
  const T* operator->() const { return &std::get<T>(state_); }

 private:
  std::variant<T, Status> state_;
};

// Returns from the enclosing function when the expression is a Status that is not ok.
#define TUTTI_RETURN_IF_ERROR(expression)                               \
  do {                                                                  \
    if (::tutti::Status tutti_status_ = (expression); !tutti_status_) { \
      return tutti_status_;                                             \
    }                                                                   \
  } while (false)

}  // namespace tutti
