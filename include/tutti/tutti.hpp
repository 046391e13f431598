// Tutti for C++17: the C API of tutti.h with objects that clean up after themselves, exceptions instead of statuses,
// and buffers that know their type and length. Header only; nothing here but calls of the C functions.
//
//     tutti::Comm comm = tutti::Comm::from_environment();
//     std::vector<float> gradients = ..., sums(gradients.size());
//     comm.all_reduce(gradients, sums, TUTTI_SUM);
//
// Buffers are anything with data() and size(): vectors, arrays, std::span, or view(pointer, length). What
// tutti.h says about each call holds here too; lengths that contradict each other throw before anything is sent.
#ifndef TUTTI_TUTTI_HPP
#define TUTTI_TUTTI_HPP

#include <tutti/tutti.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tutti {

// What a call returned, and its sentence.
class Error : public std::runtime_error {
 public:
  Error(tutti_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  tutti_status status() const noexcept { return status_; }

 private:
  tutti_status status_;
};

inline void check(tutti_status status) {
  if (status != TUTTI_OK) throw Error(status, tutti_last_error());
}

// The element type of a C++ type. Types that C++ has no name for (float16 and so on) are used by TypedView.
template <typename T>
constexpr tutti_datatype datatype_of() {
  using U = std::remove_cv_t<T>;
  static_assert(std::is_integral_v<U> || std::is_same_v<U, float> || std::is_same_v<U, double>,
                "no tutti_datatype for this C++ type; make a TypedView");
  static_assert(!std::is_same_v<U, bool> && sizeof(U) <= 8, "no tutti_datatype for this C++ type; make a TypedView");
  if constexpr (std::is_same_v<U, float>) return TUTTI_FLOAT32;
  if constexpr (std::is_same_v<U, double>) return TUTTI_FLOAT64;
  constexpr int kLog = sizeof(U) == 1 ? 0 : sizeof(U) == 2 ? 1 : sizeof(U) == 4 ? 2 : 3;
  return static_cast<tutti_datatype>(2 * kLog + (std::is_signed_v<U> ? 0 : 1));
}

// A buffer: where, how many elements, of what type. Does not own it.
class TypedView {
 public:
  TypedView(const void* data, std::size_t size, tutti_datatype type)
      : data_(const_cast<void*>(data)), size_(size), type_(type) {}
  template <typename Buffer, typename = decltype(std::data(std::declval<Buffer&>()))>
  TypedView(Buffer&& buffer)  // NOLINT(google-explicit-constructor): buffers are meant to be passed as they are
      : data_(const_cast<void*>(static_cast<const void*>(std::data(buffer)))),
        size_(std::size(buffer)),
        type_(datatype_of<std::remove_pointer_t<decltype(std::data(buffer))>>()) {}

  void* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  tutti_datatype type() const noexcept { return type_; }

 private:
  void* data_;
  std::size_t size_;
  tutti_datatype type_;
};

template <typename T>
TypedView view(T* data, std::size_t size) {
  return {data, size, datatype_of<T>()};
}

// Options of one operation.
struct Call {
  std::chrono::nanoseconds timeout{0};  // 0: TUTTI_TIMEOUT; negative: none
  const void* scalar = nullptr;
  const char* algorithm = nullptr;

  tutti_call c() const { return {sizeof(tutti_call), static_cast<std::int64_t>(timeout.count()), scalar, algorithm}; }
};

// An operation in flight. Its destructor waits, since the buffers are Tutti's until then; the result is lost so.
class Request {
 public:
  Request() : slot_(std::make_unique<tutti_request*>(nullptr)) {}
  Request(Request&&) noexcept = default;
  Request& operator=(Request&& other) noexcept {
    finish();
    slot_ = std::move(other.slot_);
    return *this;
  }
  ~Request() { finish(); }

  void wait() { check(tutti_request_wait(slot_.get(), -1)); }
  // Throws an Error of TUTTI_TIMEOUT if it is not complete by then; it goes on and may be waited for again.
  void wait_for(std::chrono::nanoseconds timeout) {
    check(tutti_request_wait(slot_.get(), static_cast<std::int64_t>(timeout.count())));
  }
  bool is_done() {
    int done = 0;
    check(tutti_request_test(slot_.get(), &done));
    return done != 0;
  }
  // Where the C request is. It stays there, also when the Request moves.
  tutti_request** c() const noexcept { return slot_.get(); }

 private:
  void finish() noexcept {
    if (slot_ && *slot_ != nullptr) tutti_request_wait(slot_.get(), -1);
  }
  std::unique_ptr<tutti_request*> slot_;
};

// Operations of this thread between construction and end() start together. Without end() they start, and their result
// is lost, when it is destroyed.
class Group {
 public:
  Group() { check(tutti_group_begin()); }
  ~Group() {
    if (open_) tutti_group_end();
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  void end() {
    open_ = false;
    check(tutti_group_end());
  }

 private:
  bool open_ = true;
};

// Memory that peers on this host read in place.
template <typename T>
class Memory {
 public:
  explicit Memory(std::size_t size) : size_(size) {
    void* memory = nullptr;
    check(tutti_mem_alloc(&memory, size * sizeof(T)));
    data_.reset(static_cast<T*>(memory));
  }
  T* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return size_; }
  T& operator[](std::size_t i) const { return data_.get()[i]; }
  T* begin() const noexcept { return data(); }
  T* end() const noexcept { return data() + size_; }

 private:
  static_assert(std::is_trivial_v<T>, "the memory holds plain elements");
  struct Free {
    void operator()(T* memory) const noexcept { tutti_mem_free(memory); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t size_;
};

// One rank's end of a communicator. Each operation comes in two forms: all_reduce(...) returns when it is done,
// start_all_reduce(...) returns a Request.
class Comm {
 public:
  static Comm from_environment(const char* name = nullptr, const char* settings = nullptr) {
    const tutti_comm_options options = make_options(name, settings);
    return make(tutti_comm_create_from_environment, &options);
  }
  static Comm from_store(int size, int rank, const std::string& store, const char* name = nullptr,
                         const char* settings = nullptr) {
    const tutti_comm_options options = make_options(name, settings);
    return make(tutti_comm_create_from_store, size, rank, store.c_str(), &options);
  }
  static Comm from_id(int size, const tutti_unique_id& id, int rank, const char* name = nullptr,
                      const char* settings = nullptr) {
    const tutti_comm_options options = make_options(name, settings);
    return make(tutti_comm_create, size, &id, rank, &options);
  }
  static tutti_unique_id unique_id() {
    tutti_unique_id id;
    check(tutti_unique_id_create(&id));
    return id;
  }

  Comm() = default;  // of nobody; as if moved from
  explicit Comm(tutti_comm* comm) noexcept : comm_(comm) {}
  // Owned by this object. Null when it is of nobody.
  tutti_comm* c() const noexcept { return comm_.get(); }
  explicit operator bool() const noexcept { return comm_ != nullptr; }

  int rank() const { return ask<int>(tutti_comm_rank); }
  int size() const { return ask<int>(tutti_comm_size); }
  // Of nobody for TUTTI_NO_COLOR.
  Comm split(int color, int key = 0, const char* name = nullptr) const {
    const tutti_comm_options options = make_options(name, nullptr);
    tutti_comm* made = nullptr;
    check(tutti_comm_split(c(), color, key, &made, &options));
    return Comm(made);
  }
  Comm duplicate(const char* name = nullptr) const {
    const tutti_comm_options options = make_options(name, nullptr);
    return Comm(ask<tutti_comm*>([&](auto* of, auto** to) { return tutti_comm_duplicate(of, to, &options); }));
  }
  void finalize(std::chrono::nanoseconds timeout = {}) const {
    check(tutti_comm_finalize(c(), static_cast<std::int64_t>(timeout.count())));
  }
  static Comm join(const char* store = nullptr, const char* name = nullptr, const char* settings = nullptr) {
    const tutti_comm_options options = make_options(name, settings);
    return make(tutti_comm_join, store, &options);
  }
  void refresh(const tutti_refresh_options* options = nullptr) const { check(tutti_comm_refresh(c(), options)); }
  void shrink(const tutti_refresh_options* options = nullptr) const { check(tutti_comm_shrink(c(), options)); }
  void grow(const tutti_refresh_options* options = nullptr) const { check(tutti_comm_grow(c(), options)); }
  void leave(std::chrono::nanoseconds timeout = {}) {  // this object is empty afterwards, unless it throws
    check(tutti_comm_leave(c(), static_cast<std::int64_t>(timeout.count())));
    static_cast<void>(comm_.release());
  }
  void revoke(const char* reason) const { check(tutti_comm_revoke(c(), reason)); }
  int waiting() const { return ask<int>(tutti_comm_waiting); }
  std::uint64_t epoch() const { return ask<std::uint64_t>(tutti_comm_epoch); }
  int slot(int rank) const { return ask<int>(tutti_comm_slot, rank); }
  std::vector<int> slots() const {  // the rank in each slot; -1: nobody
    std::vector<int> ranks(static_cast<std::size_t>(ask<int>(tutti_comm_slots, static_cast<int*>(nullptr), 0)));
    ask<int>(tutti_comm_slots, ranks.data(), static_cast<int>(ranks.size()));
    return ranks;
  }
  void abort(const char* reason) const { check(tutti_comm_abort(c(), reason)); }
  void destroy() { check(tutti_comm_destroy(comm_.release())); }
  // Throws what has gone wrong, if something has.
  void check_error() const {
    std::string text(1024, '\0');
    const tutti_status status = tutti_comm_error(c(), text.data(), text.size());
    if (status != TUTTI_OK) throw Error(status, text.c_str());
  }
  // Whom operations wait for, longer than TUTTI_STRAGGLER_TIMEOUT, right now.
  std::vector<tutti_straggler> stragglers() const {
    std::vector<tutti_straggler> all(ranks());
    std::size_t count = 0;
    check(tutti_comm_stragglers(c(), sizeof(tutti_straggler), all.data(), all.size(), &count));
    all.resize(count < all.size() ? count : all.size());
    return all;
  }
  std::string explain(tutti_collective what, std::size_t count, tutti_datatype type, tutti_op op = TUTTI_SUM) const {
    return whole_text([&](char* text, std::size_t capacity, std::size_t* needed) {
      return tutti_comm_explain(c(), what, count, type, op, text, capacity, needed);
    });
  }
  std::string settings() const {
    return whole_text([&](char* text, std::size_t capacity, std::size_t* needed) {
      return tutti_comm_settings(c(), text, capacity, needed);
    });
  }

  void all_reduce(TypedView input, TypedView output, tutti_op op = TUTTI_SUM, const Call& call = {}) const {
    check(run_all_reduce(input, output, op, call, nullptr));
  }
  Request start_all_reduce(TypedView input, TypedView output, tutti_op op = TUTTI_SUM, const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_all_reduce(input, output, op, call, r); });
  }

  // On other ranks than the root, output may be empty.
  void reduce(TypedView input, TypedView output, int root, tutti_op op = TUTTI_SUM, const Call& call = {}) const {
    check(run_reduce(input, output, root, op, call, nullptr));
  }
  Request start_reduce(TypedView input, TypedView output, int root, tutti_op op = TUTTI_SUM,
                       const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_reduce(input, output, root, op, call, r); });
  }

  // The root's data comes to everybody's data.
  void broadcast(TypedView data, int root, const Call& call = {}) const {
    check(run_broadcast(data, root, call, nullptr));
  }
  Request start_broadcast(TypedView data, int root, const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_broadcast(data, root, call, r); });
  }

  void all_gather(TypedView input, TypedView output, const Call& call = {}) const {
    check(run_all_gather(input, output, call, nullptr));
  }
  Request start_all_gather(TypedView input, TypedView output, const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_all_gather(input, output, call, r); });
  }

  void all_gather_v(TypedView input, TypedView output, const std::vector<std::size_t>& counts,
                    const Call& call = {}) const {
    check(run_all_gather_v(input, output, counts, call, nullptr));
  }
  Request start_all_gather_v(TypedView input, TypedView output, const std::vector<std::size_t>& counts,
                             const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_all_gather_v(input, output, counts, call, r); });
  }

  void reduce_scatter(TypedView input, TypedView output, tutti_op op = TUTTI_SUM, const Call& call = {}) const {
    check(run_reduce_scatter(input, output, op, call, nullptr));
  }
  Request start_reduce_scatter(TypedView input, TypedView output, tutti_op op = TUTTI_SUM,
                               const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_reduce_scatter(input, output, op, call, r); });
  }

  void reduce_scatter_v(TypedView input, TypedView output, const std::vector<std::size_t>& counts,
                        tutti_op op = TUTTI_SUM, const Call& call = {}) const {
    check(run_reduce_scatter_v(input, output, counts, op, call, nullptr));
  }
  Request start_reduce_scatter_v(TypedView input, TypedView output, const std::vector<std::size_t>& counts,
                                 tutti_op op = TUTTI_SUM, const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_reduce_scatter_v(input, output, counts, op, call, r); });
  }

  void all_to_all(TypedView input, TypedView output, const Call& call = {}) const {
    check(run_all_to_all(input, output, call, nullptr));
  }
  Request start_all_to_all(TypedView input, TypedView output, const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_all_to_all(input, output, call, r); });
  }

  // Blocks packed in rank order on both sides.
  void all_to_all_v(TypedView input, const std::vector<std::size_t>& input_counts, TypedView output,
                    const std::vector<std::size_t>& output_counts, const Call& call = {}) const {
    check(run_all_to_all_v(input, input_counts, output, output_counts, call, nullptr));
  }
  Request start_all_to_all_v(TypedView input, const std::vector<std::size_t>& input_counts, TypedView output,
                             const std::vector<std::size_t>& output_counts, const Call& call = {}) const {
    return start(
        [&](tutti_request** r) { return run_all_to_all_v(input, input_counts, output, output_counts, call, r); });
  }

  // On other ranks than the root, output may be empty.
  void gather(TypedView input, TypedView output, int root, const Call& call = {}) const {
    check(run_gather(input, output, root, call, nullptr));
  }
  Request start_gather(TypedView input, TypedView output, int root, const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_gather(input, output, root, call, r); });
  }
  // counts are read at the root only.
  void gather_v(TypedView input, TypedView output, const std::vector<std::size_t>& counts, int root,
                const Call& call = {}) const {
    check(run_gather_v(input, output, counts, root, call, nullptr));
  }
  Request start_gather_v(TypedView input, TypedView output, const std::vector<std::size_t>& counts, int root,
                         const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_gather_v(input, output, counts, root, call, r); });
  }

  // On other ranks than the root, input may be empty.
  void scatter(TypedView input, TypedView output, int root, const Call& call = {}) const {
    check(run_scatter(input, output, root, call, nullptr));
  }
  Request start_scatter(TypedView input, TypedView output, int root, const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_scatter(input, output, root, call, r); });
  }
  // counts are read at the root only.
  void scatter_v(TypedView input, const std::vector<std::size_t>& counts, TypedView output, int root,
                 const Call& call = {}) const {
    check(run_scatter_v(input, counts, output, root, call, nullptr));
  }
  Request start_scatter_v(TypedView input, const std::vector<std::size_t>& counts, TypedView output, int root,
                          const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_scatter_v(input, counts, output, root, call, r); });
  }

  void agree(const Call& call = {}) const {
    const tutti_call c_call = call.c();
    check(tutti_comm_agree(c(), &c_call, nullptr));
  }
  void barrier(const Call& call = {}) const { check(run_barrier(call, nullptr)); }
  Request start_barrier(const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_barrier(call, r); });
  }

  void send(TypedView input, int peer, const Call& call = {}) const { check(run_send(input, peer, call, nullptr)); }
  Request start_send(TypedView input, int peer, const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_send(input, peer, call, r); });
  }
  void receive(TypedView output, int peer, const Call& call = {}) const {
    check(run_receive(output, peer, call, nullptr));
  }
  Request start_receive(TypedView output, int peer, const Call& call = {}) const {
    return start([&](tutti_request** r) { return run_receive(output, peer, call, r); });
  }

 private:
  static tutti_comm_options make_options(const char* name, const char* settings) {
    return {sizeof(tutti_comm_options), name, settings, 0};
  }

  template <typename Begin>
  static Request start(const Begin& begin) {
    Request request;
    check(begin(request.c()));
    return request;
  }

  template <typename Read>
  static std::string whole_text(const Read& read) {
    std::size_t needed = 0;
    check(read(nullptr, 0, &needed));
    std::string text(needed + 1, '\0');
    check(read(text.data(), text.size(), nullptr));
    text.resize(needed);
    return text;
  }

  static void require(bool good, const char* what) {
    if (!good) throw Error(TUTTI_INVALID, std::string("tutti.hpp: ") + what + "; nothing was sent");
  }
  static void require_alike(const TypedView& a, const TypedView& b) {
    require(a.type() == b.type(), "input and output have different element types");
  }
  std::size_t ranks() const { return static_cast<std::size_t>(size()); }
  void require_counts(const std::vector<std::size_t>& counts) const {
    require(counts.size() == ranks(), "a table of counts needs one for each rank");
  }
  static void require_room(const TypedView& buffer, const std::vector<std::size_t>& counts) {
    std::size_t sum = 0;
    for (const std::size_t count : counts) sum += count;
    require(buffer.size() >= sum, "a buffer is smaller than the sum of its counts");
  }

  tutti_status run_all_reduce(const TypedView& in, const TypedView& out, tutti_op op, const Call& call,
                              tutti_request** r) const {
    require_alike(in, out);
    require(in.size() == out.size(), "input and output of all_reduce have different lengths");
    const tutti_call c_call = call.c();
    return tutti_all_reduce(in.data(), out.data(), in.size(), in.type(), op, c(), &c_call, r);
  }
  tutti_status run_reduce(const TypedView& in, const TypedView& out, int root, tutti_op op, const Call& call,
                          tutti_request** r) const {
    require_alike(in, out);
    require(rank() != root || in.size() == out.size(), "input and output of reduce have different lengths at the root");
    const tutti_call c_call = call.c();
    return tutti_reduce(in.data(), out.data(), in.size(), in.type(), op, root, c(), &c_call, r);
  }
  tutti_status run_broadcast(const TypedView& data, int root, const Call& call, tutti_request** r) const {
    const tutti_call c_call = call.c();
    return tutti_broadcast(data.data(), data.data(), data.size(), data.type(), root, c(), &c_call, r);
  }
  tutti_status run_all_gather(const TypedView& in, const TypedView& out, const Call& call, tutti_request** r) const {
    require_alike(in, out);
    require(out.size() == in.size() * ranks(), "the output of all_gather needs one block for each rank");
    const tutti_call c_call = call.c();
    return tutti_all_gather(in.data(), out.data(), in.size(), in.type(), c(), &c_call, r);
  }
  tutti_status run_all_gather_v(const TypedView& in, const TypedView& out, const std::vector<std::size_t>& counts,
                                const Call& call, tutti_request** r) const {
    require_alike(in, out);
    require_counts(counts);
    require_room(out, counts);
    const tutti_call c_call = call.c();
    return tutti_all_gather_v(in.data(), in.size(), out.data(), counts.data(), nullptr, in.type(), c(), &c_call, r);
  }
  tutti_status run_reduce_scatter(const TypedView& in, const TypedView& out, tutti_op op, const Call& call,
                                  tutti_request** r) const {
    require_alike(in, out);
    require(in.size() == out.size() * ranks(), "the input of reduce_scatter needs one block for each rank");
    const tutti_call c_call = call.c();
    return tutti_reduce_scatter(in.data(), out.data(), out.size(), in.type(), op, c(), &c_call, r);
  }
  tutti_status run_reduce_scatter_v(const TypedView& in, const TypedView& out, const std::vector<std::size_t>& counts,
                                    tutti_op op, const Call& call, tutti_request** r) const {
    require_alike(in, out);
    require_counts(counts);
    require_room(in, counts);
    require(out.size() == counts[static_cast<std::size_t>(rank())],
            "the output of reduce_scatter_v is not this rank's count");
    const tutti_call c_call = call.c();
    return tutti_reduce_scatter_v(in.data(), out.data(), counts.data(), in.type(), op, c(), &c_call, r);
  }
  tutti_status run_all_to_all(const TypedView& in, const TypedView& out, const Call& call, tutti_request** r) const {
    require_alike(in, out);
    require(in.size() == out.size() && in.size() % ranks() == 0, "all_to_all needs equal blocks, one for each rank");
    const tutti_call c_call = call.c();
    return tutti_all_to_all(in.data(), out.data(), in.size() / ranks(), in.type(), c(), &c_call, r);
  }
  tutti_status run_all_to_all_v(const TypedView& in, const std::vector<std::size_t>& in_counts, const TypedView& out,
                                const std::vector<std::size_t>& out_counts, const Call& call,
                                tutti_request** r) const {
    require_alike(in, out);
    require_counts(in_counts);
    require_counts(out_counts);
    require_room(in, in_counts);
    require_room(out, out_counts);
    const tutti_call c_call = call.c();
    return tutti_all_to_all_v(in.data(), in_counts.data(), nullptr, out.data(), out_counts.data(), nullptr, in.type(),
                              c(), &c_call, r);
  }
  tutti_status run_gather(const TypedView& in, const TypedView& out, int root, const Call& call,
                          tutti_request** r) const {
    require_alike(in, out);
    require(rank() != root || out.size() == in.size() * ranks(), "the root's output needs one block for each rank");
    const tutti_call c_call = call.c();
    return tutti_gather(in.data(), out.data(), in.size(), in.type(), root, c(), &c_call, r);
  }
  tutti_status run_gather_v(const TypedView& in, const TypedView& out, const std::vector<std::size_t>& counts,
                            int root, const Call& call, tutti_request** r) const {
    require_alike(in, out);
    if (rank() == root) {
      require_counts(counts);
      require_room(out, counts);
    }
    const tutti_call c_call = call.c();
    return tutti_gather_v(in.data(), in.size(), out.data(), counts.data(), nullptr, in.type(), root, c(), &c_call, r);
  }
  tutti_status run_scatter(const TypedView& in, const TypedView& out, int root, const Call& call,
                           tutti_request** r) const {
    require_alike(in, out);
    require(rank() != root || in.size() == out.size() * ranks(), "the root's input needs one block for each rank");
    const tutti_call c_call = call.c();
    return tutti_scatter(in.data(), out.data(), out.size(), in.type(), root, c(), &c_call, r);
  }
  tutti_status run_scatter_v(const TypedView& in, const std::vector<std::size_t>& counts, const TypedView& out,
                             int root, const Call& call, tutti_request** r) const {
    require_alike(in, out);
    if (rank() == root) {
      require_counts(counts);
      require_room(in, counts);
    }
    const tutti_call c_call = call.c();
    return tutti_scatter_v(in.data(), counts.data(), nullptr, out.data(), out.size(), in.type(), root, c(), &c_call,
                           r);
  }
  template <typename Function, typename... Arguments>
  static Comm make(Function function, Arguments... arguments) {
    tutti_comm* made = nullptr;
    check(function(&made, arguments...));
    return Comm(made);
  }
  template <typename T, typename Function, typename... Arguments>
  T ask(Function function, Arguments... arguments) const {
    T answer{};
    check(function(c(), arguments..., &answer));
    return answer;
  }
  tutti_status run_barrier(const Call& call, tutti_request** r) const {
    const tutti_call c_call = call.c();
    return tutti_barrier(c(), &c_call, r);
  }
  tutti_status run_send(const TypedView& in, int peer, const Call& call, tutti_request** r) const {
    const tutti_call c_call = call.c();
    return tutti_send(in.data(), in.size(), in.type(), peer, c(), &c_call, r);
  }
  tutti_status run_receive(const TypedView& out, int peer, const Call& call, tutti_request** r) const {
    const tutti_call c_call = call.c();
    return tutti_receive(out.data(), out.size(), out.type(), peer, c(), &c_call, r);
  }

  struct Destroy {
    void operator()(tutti_comm* comm) const noexcept { tutti_comm_destroy(comm); }
  };
  std::unique_ptr<tutti_comm, Destroy> comm_;
};

// Named tensors that every rank should have with the same bits. The memory of the views stays the caller's, and must be
// there as long as they are in the state.
class State {
 public:
  explicit State(const char* name = "state") {
    tutti_state* state = nullptr;
    check(tutti_state_create(&state, name));
    state_.reset(state);
  }
  // Owned by this object; for tutti_refresh_options.
  tutti_state* c() const noexcept { return state_.get(); }

  void add(const std::string& name, const TypedView& tensor) {
    check(tutti_state_add(c(), name.c_str(), tensor.data(), tensor.size(), tensor.type()));
  }
  void move(const std::string& name, void* memory) { check(tutti_state_move(c(), name.c_str(), memory)); }
  void remove(const std::string& name) { check(tutti_state_remove(c(), name.c_str())); }
  void set_revision(std::uint64_t revision) { check(tutti_state_set_revision(c(), revision)); }
  std::uint64_t revision() const {
    std::uint64_t revision = 0;
    check(tutti_state_revision(c(), &revision));
    return revision;
  }
  // timeout 0: TUTTI_TIMEOUT for each message; negative: none.
  tutti_state_report synchronize(const Comm& comm, bool strict = false,
                                 std::chrono::nanoseconds timeout = std::chrono::nanoseconds(0)) {
    const tutti_state_options options{sizeof options, static_cast<std::int64_t>(timeout.count()), strict ? 1 : 0};
    tutti_state_report report = TUTTI_STATE_REPORT_INIT;
    check(tutti_state_synchronize(c(), comm.c(), &options, &report));
    return report;
  }

 private:
  struct Destroy {
    void operator()(tutti_state* state) const noexcept { tutti_state_destroy(state); }
  };
  std::unique_ptr<tutti_state, Destroy> state_;
};

}  // namespace tutti

#endif  // TUTTI_TUTTI_HPP
