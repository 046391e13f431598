#include "src/schedule/schedule.h"

namespace tutti {

std::string_view name(Collective what) {
  switch (what) {
    case Collective::all_reduce:
      return "all_reduce";
    case Collective::reduce:
      return "reduce";
    case Collective::broadcast:
      return "broadcast";
    case Collective::all_gather:
      return "all_gather";
    case Collective::reduce_scatter:
      return "reduce_scatter";
    case Collective::all_to_all:
      return "all_to_all";
    case Collective::gather:
      return "gather";
    case Collective::scatter:
      return "scatter";
  }
  return "?";
}

std::string_view name(StepKind kind) {
  switch (kind) {
    case StepKind::send:
      return "send";
    case StepKind::receive:
      return "receive";
    case StepKind::reduce:
      return "reduce";
    case StepKind::copy:
      return "copy";
  }
  return "?";
}

std::string_view name(Buffer buffer) {
  switch (buffer) {
    case Buffer::input:
      return "input";
    case Buffer::output:
      return "output";
    case Buffer::scratch:
      return "scratch";
  }
  return "?";
}

bool is_rooted(Collective what) {
  return what == Collective::reduce || what == Collective::broadcast || what == Collective::gather ||
         what == Collective::scatter;
}

bool is_reduction(Collective what) {
  return what == Collective::all_reduce || what == Collective::reduce || what == Collective::reduce_scatter;
}

}  // namespace tutti
