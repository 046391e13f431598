#include "bindings/python/src/communicator.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>

#include <chrono>
#include <cstring>
#include <set>
#include <thread>
#include <variant>

#include "bindings/python/src/errors.h"

namespace tutti::python {

namespace {

// Open ones, under the GIL. Never destroyed: Python may be gone by then.
std::set<Communicator*>& open_ones() {
  static auto* const all = new std::set<Communicator*>;
  return *all;
}

using Settings = std::variant<std::monostate, std::string, nb::dict>;

// What every way to a communicator takes.
struct Options {
  std::optional<std::string> name;
  std::string settings;
  std::optional<double> timeout;

  Options(std::optional<std::string> given_name, const Settings& given, std::optional<double> seconds)
      : name(std::move(given_name)), timeout(seconds) {
    if (const auto* text = std::get_if<std::string>(&given)) settings = *text;
    if (const auto* table = std::get_if<nb::dict>(&given)) {
      for (const auto [key, value] : *table) {
        settings += nb::cast<std::string>(nb::str(key)) + "=" + nb::cast<std::string>(nb::str(value)) + " ";
      }
    }
  }
  tutti_comm_options c() const {
    return {sizeof(tutti_comm_options), name ? name->c_str() : nullptr, settings.empty() ? nullptr : settings.c_str(),
            nanoseconds(timeout)};
  }
};

template <typename Make>
Communicator* create(const Options& options, const Make& make) {
  const tutti_comm_options c_options = options.c();
  tutti_comm* comm = nullptr;
  tutti_status status;
  {
    const nb::gil_scoped_release released;
    status = make(&comm, &c_options);
  }
  check(status);
  return new Communicator(comm);
}

template <typename Read>
std::string whole_text(const Read& read) {
  std::size_t needed = 0;
  check(read(nullptr, 0, &needed));
  std::string text(needed + 1, '\0');
  check(read(text.data(), text.size(), nullptr));
  text.resize(std::strlen(text.c_str()));
  return text;
}

tutti_unique_id id_of(nb::bytes bytes) {
  tutti_unique_id id;
  if (bytes.size() != sizeof id.bytes) {
    raise_invalid("a unique id has " + std::to_string(sizeof id.bytes) + " bytes, this one " +
                  std::to_string(bytes.size()) + "; pass what tutti.unique_id() returned on one rank");
  }
  std::memcpy(id.bytes, bytes.c_str(), sizeof id.bytes);
  return id;
}

tutti_collective collective_of(const std::string& name) {
  static constexpr const char* kNames[] = {"all_reduce",     "reduce",     "broadcast", "all_gather",
                                           "reduce_scatter", "all_to_all", "gather",    "scatter"};
  std::string all;
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (name == kNames[i]) return static_cast<tutti_collective>(i);
    all += (i > 0 ? ", " : "") + std::string(kNames[i]);
  }
  raise_invalid("\"" + name + "\" is no collective; there are " + all);
}

}  // namespace

Communicator::Communicator(tutti_comm* comm) : comm_(comm) { open_ones().insert(this); }

tutti_comm* Communicator::use() {
  if (comm_ == nullptr) raise_invalid("this communicator is closed; make a new one");
  ++users_;
  return comm_;
}

int Communicator::rank() {
  int rank = 0;
  call([&](tutti_comm* comm) { return tutti_comm_rank(comm, &rank); });
  return rank;
}

int Communicator::size() {
  int size = 0;
  call([&](tutti_comm* comm) { return tutti_comm_size(comm, &size); });
  return size;
}

void Communicator::finalize(std::optional<double> timeout) {
  const std::int64_t limit = nanoseconds(timeout);
  call([limit](tutti_comm* comm) { return tutti_comm_finalize(comm, limit); });
}

void Communicator::abort(const std::optional<std::string>& reason) {
  call([&](tutti_comm* comm) { return tutti_comm_abort(comm, reason ? reason->c_str() : nullptr); });
}

void Communicator::close() {
  tutti_comm* const comm = std::exchange(comm_, nullptr);
  if (comm == nullptr) return;
  open_ones().erase(this);
  if (users_ > 0) tutti_comm_abort(comm, "the communicator was closed by another thread of this process");
  const auto pause = std::chrono::milliseconds(1);
  while (users_ > 0) {
    const nb::gil_scoped_release released;
    std::this_thread::sleep_for(pause);
  }
  {
    const nb::gil_scoped_release released;
    tutti_comm_destroy(comm);
  }
  drop_completed();
}

void Communicator::leave(std::optional<double> timeout) {
  const std::int64_t limit = nanoseconds(timeout);
  if (users_ > 0) raise_invalid("another thread of this process uses the communicator; leave when it has ended");
  call([limit](tutti_comm* comm) { return tutti_comm_leave(comm, limit); });
  comm_ = nullptr;  // freed by that
  open_ones().erase(this);
  drop_completed();
}

void close_all() {
  while (!open_ones().empty()) (*open_ones().begin())->close();
  wait_for_dropped();
}

void bind_communicator(nb::module_& module) {
  nb::class_<Communicator> communicator(
      module, "Communicator",
      "An ordered set of ranks that communicate; this process's end of it. All ranks make it together, by one of "
      "from_environment, from_store, from_id or split, and call its collectives in the same order.\n\n"
      "As a context manager it is finalized and closed at the end of the block; when the block raises, it is "
      "aborted, "
      "so that the other ranks learn of it at once instead of waiting.");
  communicator
      .def_static(
          "from_environment",
          [](std::optional<std::string> name, Settings settings, std::optional<double> timeout) {
            return create(Options(std::move(name), settings, timeout), tutti_comm_create_from_environment);
          },
          nb::arg("name") = nb::none(), nb::arg("settings") = nb::none(), nb::arg("timeout") = nb::none(),
          nb::sig("def from_environment(name: str | None = None, settings: str | dict[str, object] | None = None, "
                  "timeout: float | None = None) -> Communicator"),
          "Rank, size and meeting place as the launcher says: TUTTI_RANK, TUTTI_SIZE, TUTTI_STORE, or those of "
          "torchrun, "
          "Open MPI, MPICH and Slurm. settings: {\"TUTTI_TIMEOUT\": \"10s\"} or \"TUTTI_TIMEOUT=10s ...\", before "
          "those of "
          "the environment. timeout: seconds for the creation.")
      .def_static(
          "from_store",
          [](int size, int rank, const std::string& store, std::optional<std::string> name, Settings settings,
             std::optional<double> timeout) {
            return create(Options(std::move(name), settings, timeout),
                          [&](tutti_comm** comm, const tutti_comm_options* options) {
                            return tutti_comm_create_from_store(comm, size, rank, store.c_str(), options);
                          });
          },
          nb::arg("size"), nb::arg("rank"), nb::arg("store"), nb::arg("name") = nb::none(),
          nb::arg("settings") = nb::none(), nb::arg("timeout") = nb::none(),
          nb::sig(
              "def from_store(size: int, rank: int, store: str, name: str | None = None, settings: str | dict[str, "
              "object] | None = None, timeout: float | None = None) -> Communicator"),
          "store: \"tcp://host:port\", \"file:///directory\", \"etcd://host:port\" or \"callback://name\" "
          "(register_store).")
      .def_static(
          "from_id",
          [](int size, int rank, nb::bytes unique_id, std::optional<std::string> name, Settings settings,
             std::optional<double> timeout) {
            const tutti_unique_id id = id_of(unique_id);
            return create(Options(std::move(name), settings, timeout),
                          [&](tutti_comm** comm, const tutti_comm_options* options) {
                            return tutti_comm_create(comm, size, &id, rank, options);
                          });
          },
          nb::arg("size"), nb::arg("rank"), nb::arg("unique_id"), nb::arg("name") = nb::none(),
          nb::arg("settings") = nb::none(), nb::arg("timeout") = nb::none(),
          nb::sig("def from_id(size: int, rank: int, unique_id: bytes, name: str | None = None, settings: str | "
                  "dict[str, "
                  "object] | None = None, timeout: float | None = None) -> Communicator"),
          "unique_id: what tutti.unique_id() returned on one rank, brought to all by any private means.")
      .def_static(
          "join",
          [](std::optional<std::string> store, std::optional<std::string> name, Settings settings,
             std::optional<double> timeout) {
            return create(Options(std::move(name), settings, timeout),
                          [&](tutti_comm** comm, const tutti_comm_options* options) {
                            return tutti_comm_join(comm, store ? store->c_str() : nullptr, options);
                          });
          },
          nb::arg("store") = nb::none(), nb::arg("name") = nb::none(), nb::arg("settings") = nb::none(),
          nb::arg("timeout") = nb::none(),
          nb::sig("def join(store: str | None = None, name: str | None = None, settings: str | dict[str, object] | "
                  "None = "
                  "None, timeout: float | None = None) -> Communicator"),
          "Becomes a member of an elastic communicator that exists, at its members' next refresh().")
      .def_prop_ro("rank", &Communicator::rank, "This process's rank.")
      .def_prop_ro("size", &Communicator::size, "The number of ranks.")
      .def_prop_ro("closed", &Communicator::is_closed, "Whether close() was called.")
      .def_prop_ro(
          "epoch",
          [](Communicator& self) {
            std::uint64_t epoch = 0;
            self.call([&](tutti_comm* comm) { return tutti_comm_epoch(comm, &epoch); });
            return epoch;
          },
          "How many times the members of an elastic communicator have changed.")
      .def(
          "split",
          [](Communicator& self, std::optional<int> color, int key,
             std::optional<std::string> name) -> Communicator* {
            const tutti_comm_options options = {sizeof options, name ? name->c_str() : nullptr, nullptr, 0};
            tutti_comm* made = nullptr;
            self.call([&](tutti_comm* comm) {
              return tutti_comm_split(comm, color.value_or(TUTTI_NO_COLOR), key, &made, &options);
            });
            return made == nullptr ? nullptr : new Communicator(made);
          },
          nb::arg("color").none(), nb::arg("key") = 0, nb::arg("name") = nb::none(), nb::rv_policy::take_ownership,
          nb::sig("def split(self, color: int | None, key: int = 0, name: str | None = None) -> Communicator | None"),
          "Collective: ranks of one colour form a new communicator, in order of key, then of rank. None takes part "
          "in "
          "none of them and gets None. Opens no connection.")
      .def(
          "duplicate",
          [](Communicator& self, std::optional<std::string> name) {
            const tutti_comm_options options = {sizeof options, name ? name->c_str() : nullptr, nullptr, 0};
            tutti_comm* made = nullptr;
            self.call([&](tutti_comm* comm) { return tutti_comm_duplicate(comm, &made, &options); });
            return new Communicator(made);
          },
          nb::arg("name") = nb::none(), nb::rv_policy::take_ownership,
          "Collective: the same members again, with an order of operations of its own.")
      .def("finalize", &Communicator::finalize, nb::arg("timeout") = nb::none(),
           "Collective: waits for this rank's operations, then until every rank has come this far.")
      .def("abort", &Communicator::abort, nb::arg("reason") = nb::none(),
           "Ends the communicator at once on all ranks: pending and later operations raise AbortedError. Never "
           "blocks; "
           "any thread may call it while others wait.")
      .def("close", &Communicator::close,
           "Frees this rank's end; pending operations end with AbortedError. Local and bounded. Again does nothing.")
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
      .def(
          "__exit__",
          [](Communicator& self, nb::handle type, nb::handle value, nb::handle) {
            if (self.is_closed()) return;
            if (type.is_none()) {
              self.finalize(std::nullopt);
            } else {
              self.abort(nb::cast<std::string>(nb::str(type.attr("__name__"))) + ": " +
                         nb::cast<std::string>(nb::str(value)));
            }
            self.close();
          },
          nb::arg().none(), nb::arg().none(), nb::arg().none(),
          nb::sig("def __exit__(self, type: type[BaseException] | None, value: BaseException | None, traceback: "
                  "types.TracebackType | None, /) -> None"))
      .def(
          "check",
          [](Communicator& self) {
            std::string text(4096, '\0');
            tutti_status status = TUTTI_OK;
            self.call([&](tutti_comm* comm) {
              status = tutti_comm_error(comm, text.data(), text.size());
              return TUTTI_OK;
            });
            if (status != TUTTI_OK) raise(status, text.c_str());
          },
          "Raises what has gone wrong with the communicator, if something has.")
      .def(
          "refresh",
          [](Communicator& self, bool admit, std::optional<double> timeout) {
            tutti_refresh_options options = TUTTI_REFRESH_OPTIONS_INIT;
            options.timeout_ns = nanoseconds(timeout);
            options.admit = admit ? 1 : 0;
            self.call([&](tutti_comm* comm) { return tutti_comm_refresh(comm, &options); });
          },
          nb::arg("admit") = true, nb::arg("timeout") = nb::none(),
          "Elastic: collective over the survivors, whenever they see an error. Afterwards this is a communicator of "
          "all "
          "that are left and, with admit, of those who wait to join; rank and size may have changed.")
      .def(
          "revoke",
          [](Communicator& self, std::optional<std::string> reason) {
            self.call([&](tutti_comm* comm) { return tutti_comm_revoke(comm, reason ? reason->c_str() : nullptr); });
          },
          nb::arg("reason") = nb::none(),
          "Elastic: ends all pending operations on all ranks with AbortedError, so that they call refresh().")
      .def(
          "leave", [](Communicator& self, std::optional<double> timeout) { self.leave(timeout); },
          nb::arg("timeout") = nb::none(),
          "Elastic: goes, properly, when this rank's operations are complete; the others' next collective raises "
          "AbortedError, and they refresh. Closes it.")
      .def(
          "agree",
          [](Communicator& self, std::optional<double> timeout) {
            tutti_call options = TUTTI_CALL_INIT;
            options.timeout_ns = nanoseconds(timeout);
            self.call([&](tutti_comm* comm) { return tutti_comm_agree(comm, &options, nullptr); });
          },
          nb::arg("timeout") = nb::none(),
          "Elastic: a verdict on all collectives since the last one, the same on all survivors: they are complete on "
          "all of them, or all raise.")
      .def(
          "grow",
          [](Communicator& self, std::optional<double> timeout) {
            tutti_refresh_options options = TUTTI_REFRESH_OPTIONS_INIT;
            options.timeout_ns = nanoseconds(timeout);
            self.call([&](tutti_comm* comm) { return tutti_comm_grow(comm, &options); });
          },
          nb::arg("timeout") = nb::none(),
          "Elastic: collective; lets in those who wait to join, without ending anything.")
      .def_prop_ro(
          "slot",
          [](Communicator& self) {
            int slot = 0;
            const int rank = self.rank();
            self.call([&](tutti_comm* comm) { return tutti_comm_slot(comm, rank, &slot); });
            return slot;
          },
          "This member's slot, which does not change as long as it is one.")
      .def(
          "waiting",
          [](Communicator& self) {
            int count = 0;
            self.call([&](tutti_comm* comm) { return tutti_comm_waiting(comm, &count); });
            return count;
          },
          "Elastic: how many processes wait to join. Asks the store, no other rank.")
      .def(
          "explain",
          [](Communicator& self, const std::string& collective, std::size_t count, const std::string& datatype,
             const std::string& op) {
            const tutti_collective what = collective_of(collective);
            const tutti_datatype type = datatype_of(datatype);
            const tutti_op reduction = op_of(op);
            return whole_text([&](char* text, std::size_t capacity, std::size_t* needed) {
              self.call([&](tutti_comm* comm) {
                return tutti_comm_explain(comm, what, count, type, reduction, text, capacity, needed);
              });
              return TUTTI_OK;
            });
          },
          nb::arg("collective"), nb::arg("count"), nb::arg("datatype") = "float32", nb::arg("op") = "sum",
          "The plan that such an operation runs by, and why.")
      .def(
          "settings",
          [](Communicator& self) {
            return whole_text([&](char* text, std::size_t capacity, std::size_t* needed) {
              self.call([&](tutti_comm* comm) { return tutti_comm_settings(comm, text, capacity, needed); });
              return TUTTI_OK;
            });
          },
          "Every setting with its value and where it came from, one a line.");
  bind_operations(communicator);

  module.def(
      "unique_id",
      [] {
        tutti_unique_id id;
        check(tutti_unique_id_create(&id));
        return nb::bytes(reinterpret_cast<const char*>(id.bytes), sizeof id.bytes);
      },
      "Makes an id for Communicator.from_id and starts its rendezvous in this process.");
  module.def(
      "recorder_path", [] { return whole_text(tutti_recorder_path); },
      "The path of this process's flight recorder file, \"\" when there is none.");
}

}  // namespace tutti::python
