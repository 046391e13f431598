// Shared states of the C API: their tensors and revisions, which are local, and their synchronization's arguments.
#include "src/api/state.h"

#include "src/base/format.h"

using tutti::format;
using tutti::invalid;
using tutti::report;
using tutti::Status;

namespace {

Status check_named(const char* function, const tutti_state* state, const char* name) {
  if (state == nullptr) return invalid(format("{}: the state is NULL", function));
  if (name == nullptr) return invalid(format("{}: the tensor's name is NULL", function));
  return {};
}

std::string context(const char* function, const tutti_state* state) {
  return format("{}: state {}", function, state->name);
}

}  // namespace

namespace tutti {

Status check_synchronization(const char* function, const tutti_state* state, const tutti_state_options* options) {
  if (state == nullptr) return invalid(format("{}: the state is NULL", function));
  if (in_group())
    return invalid(format("{} between tutti_group_begin and tutti_group_end; end the group first", function));
  if (options != nullptr && options->size < sizeof(tutti_state_options)) {
    return invalid(
        format("{}: tutti_state_options.size is {}; set it to sizeof(tutti_state_options) "
               "(TUTTI_STATE_OPTIONS_INIT does)",
               function, options->size));
  }
  return {};
}

}  // namespace tutti

tutti_status tutti_state_create(tutti_state** state, const char* name) {
  if (state == nullptr) return report(invalid("tutti_state_create: state is NULL; pass the address of a pointer"));
  *state = nullptr;
  const std::string_view text = name != nullptr ? name : "state";
  if (text.size() > tutti::Tensors::kNameBytesMax) {
    return report(invalid(format("tutti_state_create: the name has {} bytes; at most {} are allowed", text.size(),
                                 tutti::Tensors::kNameBytesMax)));
  }
  *state = new tutti_state{.name = std::string(text), .tensors = {}};
  return TUTTI_OK;
}

tutti_status tutti_state_destroy(tutti_state* state) {
  delete state;
  return TUTTI_OK;
}

tutti_status tutti_state_add(tutti_state* state, const char* name, void* memory, size_t count, tutti_datatype type) {
  const Status status = check_named("tutti_state_add", state, name);
  if (!status) return report(status);
  if (static_cast<unsigned>(type) >= tutti::kDataTypes) {
    return report(invalid(format("{}: type {} of tensor {} is no tutti_datatype", context("tutti_state_add", state),
                                 static_cast<int>(type), name)));
  }
  const tutti::Tensor tensor{static_cast<std::byte*>(memory), count, static_cast<tutti::DataType>(type)};
  return report(state->tensors.add(name, tensor).prefixed(context("tutti_state_add", state)));
}

tutti_status tutti_state_move(tutti_state* state, const char* name, void* memory) {
  const Status status = check_named("tutti_state_move", state, name);
  if (!status) return report(status);
  return report(
      state->tensors.move(name, static_cast<std::byte*>(memory)).prefixed(context("tutti_state_move", state)));
}

tutti_status tutti_state_remove(tutti_state* state, const char* name) {
  const Status status = check_named("tutti_state_remove", state, name);
  if (!status) return report(status);
  return report(state->tensors.remove(name).prefixed(context("tutti_state_remove", state)));
}

tutti_status tutti_state_set_revision(tutti_state* state, std::uint64_t revision) {
  if (state == nullptr) return report(invalid("tutti_state_set_revision: the state is NULL"));
  state->revision = revision;
  state->is_whole = true;
  return TUTTI_OK;
}

tutti_status tutti_state_revision(const tutti_state* state, std::uint64_t* revision) {
  if (state == nullptr || revision == nullptr) return report(invalid("tutti_state_revision: an argument is NULL"));
  *revision = state->revision;
  return TUTTI_OK;
}

tutti_status tutti_state_synchronize(tutti_state* state, tutti_comm* comm, const tutti_state_options* options,
                                     tutti_state_report* result) {
  Status status = tutti::check_synchronization("tutti_state_synchronize", state, options);
  if (status.is_ok() && result != nullptr && result->size < sizeof(tutti_state_report)) {
    status =
        invalid(format("tutti_state_synchronize: tutti_state_report.size is {}; set it to "
                       "sizeof(tutti_state_report) (TUTTI_STATE_REPORT_INIT does)",
                       result->size));
  }
  if (status.is_ok()) status = tutti::check_communicator(comm);
  if (!status) return report(status);
  return report(tutti::synchronize(*state, *comm, options, result));
}
