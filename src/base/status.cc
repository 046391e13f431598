#include "src/base/status.h"

#include <cstring>

#include "src/base/format.h"

namespace tutti {

std::string_view name(Code code) {
  switch (code) {
    case Code::ok:
      return "OK";
    case Code::again:
      return "AGAIN";
    case Code::invalid:
      return "INVALID";
    case Code::unsupported:
      return "UNSUPPORTED";
    case Code::timeout:
      return "TIMEOUT";
    case Code::peer_lost:
      return "PEER_LOST";
    case Code::aborted:
      return "ABORTED";
    case Code::system:
      return "SYSTEM";
    case Code::internal:
      return "INTERNAL";
  }
  return "INTERNAL";
}

Status::Status(Code code, std::string text, int culprit) {
  if (code != Code::ok) rep_ = std::make_shared<const Rep>(Rep{code, culprit, std::move(text)});
}

Status Status::from_errno(int error, std::string_view context) {
  const char* symbol = strerrorname_np(error);
  return {Code::system, format("{}: {} ({}, {})", context, strerrordesc_np(error) ? strerrordesc_np(error) : "error",
                               symbol ? symbol : "errno", error)};
}

const std::string& Status::text() const {
  static const std::string empty;
  return rep_ ? rep_->text : empty;
}

Status Status::prefixed(std::string_view context) const {
  if (is_ok()) return {};
  return {rep_->code, format("{}: {}", context, rep_->text), rep_->culprit};
}

Status Status::blaming(int rank) const {
  if (is_ok()) return {};
  return {rep_->code, rep_->text, rank};
}

}  // namespace tutti
