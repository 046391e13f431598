// Arguments that are wrong: each gives its status and a sentence that names the value, and the communicator is as
// good as before. One rank by itself, in a process of its own.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <functional>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

constexpr auto kType = TUTTI_FLOAT32;
constexpr auto kOp = TUTTI_SUM;

void alone(const std::function<void(Rank&, tutti_comm*)>& function) {
  Job job;
  job.ranks = 1;
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    function(rank, comm);
    float x = 3;
    rank.ok(tutti_all_reduce(&x, &x, 1, kType, kOp, comm, nullptr, nullptr), "a call after the bad ones");
    rank.ok(tutti_comm_error(comm, nullptr, 0), "comm_error");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

void refused(Rank& rank, tutti_status expected, tutti_status got, const std::string& what,
             std::initializer_list<std::string> parts) {
  if (!rank.expect(expected, got, what)) return;
  rank.expect_text(tutti_last_error(), parts);
}

TEST(Arguments, NullIsRefusedEverywhere) {
  alone([](Rank& rank, tutti_comm* comm) {
    float x = 1;
    float y = 1;
    const std::size_t one = 1;
    tutti_request* request = reinterpret_cast<tutti_request*>(&x);
    int number = 0;
    refused(rank, TUTTI_INVALID, tutti_all_reduce(&x, &y, 1, kType, kOp, nullptr, nullptr, &request),
            "no communicator", {"communicator is NULL"});
    rank.check(request == nullptr, "an error must set the request to NULL");
    refused(rank, TUTTI_INVALID, tutti_all_reduce(nullptr, &y, 1, kType, kOp, comm, nullptr, nullptr), "no input",
            {"all_reduce", "input is NULL", "4 bytes"});
    refused(rank, TUTTI_INVALID, tutti_all_reduce(&x, nullptr, 1, kType, kOp, comm, nullptr, nullptr), "no output",
            {"output is NULL"});
    refused(rank, TUTTI_INVALID, tutti_broadcast(&x, nullptr, 1, kType, 0, comm, nullptr, nullptr), "no output",
            {"broadcast", "output is NULL"});
    refused(rank, TUTTI_INVALID, tutti_all_gather_v(&x, 1, &y, nullptr, nullptr, kType, comm, nullptr, nullptr),
            "no counts", {"counts is NULL"});
    refused(rank, TUTTI_INVALID,
            tutti_all_to_all_v(&x, &one, nullptr, &y, nullptr, nullptr, kType, comm, nullptr, nullptr), "no counts",
            {"output_counts is NULL"});
    refused(rank, TUTTI_INVALID, tutti_scatter_v(&x, nullptr, nullptr, &y, 1, kType, 0, comm, nullptr, nullptr),
            "no counts at the root", {"counts is NULL"});
    refused(rank, TUTTI_INVALID, tutti_send(nullptr, 1, kType, 0, comm, nullptr, nullptr), "no input", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_barrier(nullptr, nullptr, nullptr), "barrier", {"communicator is NULL"});
    refused(rank, TUTTI_INVALID, tutti_comm_rank(comm, nullptr), "rank", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_comm_size(nullptr, &number), "size", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_comm_split(nullptr, 0, 0, nullptr, nullptr), "split", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_comm_duplicate(comm, nullptr, nullptr), "duplicate", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_comm_finalize(nullptr, 0), "finalize", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_comm_abort(nullptr, "x"), "abort", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_comm_error(nullptr, nullptr, 0), "error", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_request_wait(nullptr, 0), "wait", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_request_test(nullptr, &number), "test", {"NULL"});
    refused(rank, TUTTI_INVALID,
            tutti_request_notify(
                nullptr, [](void*) {}, nullptr),
            "notify", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_request_wait_any(1, nullptr, &number, 0), "wait_any", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_request_wait_all(1, nullptr, 0), "wait_all", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_mem_alloc(nullptr, 1), "mem_alloc", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_unique_id_create(nullptr), "unique_id_create", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_comm_create(nullptr, 1, nullptr, 0, nullptr), "create", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_comm_create_from_store(nullptr, 1, 0, "file:///x", nullptr), "create",
            {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_comm_create_from_environment(nullptr, nullptr), "create", {"NULL"});
    rank.ok(tutti_comm_destroy(nullptr), "destroy of NULL");
    rank.ok(tutti_mem_free(nullptr), "mem_free of NULL");
    rank.ok(tutti_request_wait(&request, 0), "wait for a NULL request");
  });
}

TEST(Arguments, ValuesOutOfRangeAreNamed) {
  alone([](Rank& rank, tutti_comm* comm) {
    float x[4] = {};
    float y[4] = {};
    refused(rank, TUTTI_INVALID,
            tutti_all_reduce(x, y, 1, static_cast<tutti_datatype>(77), kOp, comm, nullptr, nullptr), "a type",
            {"77"});
    refused(rank, TUTTI_INVALID,
            tutti_all_reduce(x, y, 1, static_cast<tutti_datatype>(-1), kOp, comm, nullptr, nullptr), "a type",
            {"-1"});
    refused(rank, TUTTI_INVALID, tutti_all_reduce(x, y, 1, kType, static_cast<tutti_op>(42), comm, nullptr, nullptr),
            "an op", {"42"});
    for (const tutti_op op : {TUTTI_BIT_AND, TUTTI_BIT_OR, TUTTI_BIT_XOR, TUTTI_LOGICAL_AND, TUTTI_LOGICAL_OR}) {
      for (const tutti_datatype type :
           {TUTTI_FLOAT16, TUTTI_BFLOAT16, TUTTI_FLOAT32, TUTTI_FLOAT64, TUTTI_FLOAT8_E4M3, TUTTI_FLOAT8_E5M2}) {
        refused(rank, TUTTI_UNSUPPORTED, tutti_all_reduce(x, y, 0, type, op, comm, nullptr, nullptr),
                "an op of a type", {tutti_op_name(op), tutti_datatype_name(type)});
      }
    }
    refused(rank, TUTTI_INVALID, tutti_reduce(x, y, 1, kType, kOp, 1, comm, nullptr, nullptr), "a root",
            {"root is 1"});
    refused(rank, TUTTI_INVALID, tutti_gather(x, y, 1, kType, -3, comm, nullptr, nullptr), "a root", {"root is -3"});
    refused(rank, TUTTI_INVALID, tutti_receive(y, 1, kType, 9, comm, nullptr, nullptr), "a peer", {"peer is 9"});
    refused(rank, TUTTI_INVALID, tutti_all_reduce(x, y, 1, kType, TUTTI_PREMULTIPLIED_SUM, comm, nullptr, nullptr),
            "no scalar", {"scalar"});
    tutti_call call = TUTTI_CALL_INIT;
    call.algorithm = "telepathy";
    refused(rank, TUTTI_INVALID, tutti_all_reduce(x, y, 1, kType, kOp, comm, &call, nullptr), "an algorithm",
            {"telepathy", "ring"});
    call = TUTTI_CALL_INIT;
    call.size = 3;
    refused(rank, TUTTI_INVALID, tutti_all_reduce(x, y, 1, kType, kOp, comm, &call, nullptr), "a struct size",
            {"tutti_call.size is 3"});
    refused(rank, TUTTI_INVALID,
            tutti_comm_explain(comm, static_cast<tutti_collective>(99), 1, kType, kOp, nullptr, 0, nullptr),
            "explain", {"99"});
    tutti_comm* made = comm;
    refused(rank, TUTTI_INVALID, tutti_comm_create_from_store(&made, 2, 2, "file:///tmp", nullptr), "a rank",
            {"rank is 2", "size 2"});
    rank.check(made == nullptr, "a creation that failed gave a communicator");
    refused(rank, TUTTI_INVALID, tutti_comm_create_from_store(&made, 0, 0, "file:///tmp", nullptr), "a size",
            {"size is 0"});
    refused(rank, TUTTI_INVALID, tutti_comm_create_from_store(&made, 2, 0, "carrier-pigeon://", nullptr), "a store",
            {"carrier-pigeon"});
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.size = 1;
    refused(rank, TUTTI_INVALID, tutti_comm_create_from_store(&made, 1, 0, "file:///tmp", &options), "options",
            {"tutti_comm_options.size is 1"});
  });
}

TEST(Arguments, BuffersThatOverlapAreRefused) {
  alone([](Rank& rank, tutti_comm* comm) {
    float x[100] = {};
    const std::size_t counts[] = {50};
    refused(rank, TUTTI_INVALID, tutti_all_reduce(x, x + 10, 50, kType, kOp, comm, nullptr, nullptr), "all_reduce",
            {"overlap", "200 bytes"});
    refused(rank, TUTTI_INVALID, tutti_all_gather(x + 1, x, 50, kType, comm, nullptr, nullptr), "all_gather",
            {"overlap"});
    refused(rank, TUTTI_INVALID,
            tutti_all_to_all_v(x, counts, nullptr, x, counts, nullptr, kType, comm, nullptr, nullptr),
            "all_to_all_v in place", {"overlap"});
    rank.ok(tutti_all_reduce(x, x + 50, 50, kType, kOp, comm, nullptr, nullptr), "neighbours");
    rank.ok(tutti_all_reduce(x, x, 50, kType, kOp, comm, nullptr, nullptr), "in place");
    rank.ok(tutti_all_reduce(nullptr, nullptr, 0, kType, kOp, comm, nullptr, nullptr), "nothing");
  });
}

TEST(Arguments, SizesBeyondTheAddressSpaceAreRefused) {
  alone([](Rank& rank, tutti_comm* comm) {
    float x = 0;
    float y = 0;
    const std::size_t huge = ~std::size_t{0} / 2;
    refused(rank, TUTTI_INVALID, tutti_all_reduce(&x, &y, huge, kType, kOp, comm, nullptr, nullptr), "count * size",
            {std::to_string(huge), "address space"});
    refused(rank, TUTTI_INVALID, tutti_send(&x, std::size_t{1} << 62, TUTTI_FLOAT64, 0, comm, nullptr, nullptr),
            "send", {"address space"});
    const std::size_t one = 1;
    refused(rank, TUTTI_INVALID, tutti_all_gather_v(&x, 1, &y, &one, &huge, kType, comm, nullptr, nullptr),
            "a displacement", {"address space"});
  });
}

TEST(Arguments, TablesMayReachFarIntoReservedMemory) {
  alone([](Rank& rank, tutti_comm* comm) {
    // 2^33 elements of 8 bytes are reserved, not allocated; two of them are used.
    const std::size_t far = std::size_t{1} << 33;
    const std::size_t bytes = (far + 2) * 8;
    void* const memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!rank.check(memory != MAP_FAILED, "64 GiB could not be reserved")) return;
    auto* const output = static_cast<std::int64_t*>(memory);
    const std::int64_t input[] = {7, 8};
    const std::size_t count = 2;
    rank.ok(tutti_all_gather_v(input, 2, output, &count, &far, TUTTI_INT64, comm, nullptr, nullptr), "all_gather_v");
    rank.check(output[far] == 7 && output[far + 1] == 8, "the far block is wrong");
    munmap(memory, bytes);
  });
}

TEST(Arguments, MemoryHandlesAreChecked) {
  alone([](Rank& rank, tutti_comm*) {
    tutti_memory* handle = nullptr;
    float x = 0;
    void* memory = &x;
    rank.ok(tutti_mem_alloc(&memory, 0), "an allocation of nothing");
    rank.check(memory == nullptr, "an allocation of nothing gave memory");
    refused(rank, TUTTI_SYSTEM, tutti_mem_alloc(&memory, std::size_t{1} << 60), "an allocation of 1 EiB",
            {"tutti_mem_alloc"});
    rank.check(memory == nullptr, "a failed allocation gave memory");
    refused(rank, TUTTI_INVALID, tutti_mem_free(&x), "a free of other memory", {"not the start of memory"});
    refused(rank, TUTTI_INVALID, tutti_mem_register(nullptr, 4, &handle), "register", {"4 bytes"});
    refused(rank, TUTTI_INVALID, tutti_mem_register(&x, 0, &handle), "register", {"0 bytes"});
    rank.ok(tutti_mem_register(&x, 4, &handle), "register");
    tutti_memory* const stale = handle;
    rank.ok(tutti_mem_deregister(handle), "deregister");
    refused(rank, TUTTI_INVALID, tutti_mem_deregister(stale), "a second deregister", {"registered"});
    refused(rank, TUTTI_INVALID, tutti_mem_deregister(nullptr), "deregister of NULL", {"registered"});
  });
}

TEST(Arguments, SettingsAreCheckedWhenACommunicatorIsMade) {
  Job job;
  job.ranks = 1;
  job.environment = {{"TUTTI_SEGMENT_BITES", "4k"}};
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* comm = nullptr;
    refused(rank, TUTTI_INVALID, rank.try_create(&comm, "w", "TUTTI_SEGMENT_BYTES=4x"), "a bad value",
            {"TUTTI_SEGMENT_BYTES", "4x", "expected"});
    refused(rank, TUTTI_INVALID, rank.try_create(&comm, "w", "TUTTI_TIMEOUT=5"), "a bad value",
            {"TUTTI_TIMEOUT", "5"});
    refused(rank, TUTTI_INVALID, rank.try_create(&comm, "w", "TUTTI_TRANSPORTS=shm,smoke"), "a bad value",
            {"TUTTI_TRANSPORTS", "smoke"});
    refused(rank, TUTTI_INVALID, rank.try_create(&comm, "w", "TUTTI_EAGER_BITES=3"), "an unknown option",
            {"TUTTI_EAGER_BITES", "did you mean TUTTI_EAGER_BYTES?"});
    refused(rank, TUTTI_INVALID, rank.try_create(&comm, "w", "TUTTI_ALGORITHM=all_reduce=magic"), "an algorithm",
            {"magic"});
    // In the environment an unknown name is a warning only, for it may belong to another version.
    std::string warned;
    tutti_set_log_hook(
        [](int level, const char*, const char* text, void* user) {
          if (level == 1) *static_cast<std::string*>(user) += text;
        },
        &warned);
    comm = rank.create("w", "TUTTI_EAGER_BYTES=1k");
    tutti_comm* second = rank.create("w2");
    tutti_set_log_hook(nullptr, nullptr);
    rank.expect_text(warned, {"TUTTI_SEGMENT_BITES", "did you mean TUTTI_SEGMENT_BYTES?", "Ignored"});
    rank.check(warned.find("BITES") == warned.rfind("BITES"), "said more than once: " + warned);
    if (second != nullptr) rank.ok(tutti_comm_destroy(second), "destroy");
    char text[8192];
    std::size_t needed = 0;
    rank.ok(tutti_comm_settings(comm, text, sizeof text, &needed), "settings");
    rank.expect_text(text, {"TUTTI_EAGER_BYTES"});
    rank.check(needed == std::strlen(text), "needed is not the length");
    char little[10];
    rank.ok(tutti_comm_settings(comm, little, sizeof little, &needed), "settings with little room");
    rank.check(std::strlen(little) == 9 && needed > 9, "the text was not cut");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Arguments, OfAStateAreRefused) {
  alone([](Rank& rank, tutti_comm* comm) {
    float x = 1;
    std::uint64_t revision = 0;
    tutti_state* state = nullptr;
    refused(rank, TUTTI_INVALID, tutti_state_create(nullptr, "model"), "no place", {"tutti_state_create", "NULL"});
    refused(rank, TUTTI_INVALID, tutti_state_create(&state, std::string(4097, 'n').c_str()), "a long name",
            {"4097 bytes", "4096"});
    rank.check(state == nullptr, "an error must set the state to NULL");
    rank.ok(tutti_state_create(&state, "model"), "state_create");
    refused(rank, TUTTI_INVALID, tutti_state_add(nullptr, "w", &x, 1, kType), "no state", {"state is NULL"});
    refused(rank, TUTTI_INVALID, tutti_state_add(state, nullptr, &x, 1, kType), "no name", {"name is NULL"});
    refused(rank, TUTTI_INVALID, tutti_state_add(state, "w", nullptr, 1, kType), "no memory",
            {"tutti_state_add: state model", "memory of tensor w is NULL", "4 bytes"});
    refused(rank, TUTTI_INVALID, tutti_state_add(state, "w", &x, 1, static_cast<tutti_datatype>(99)), "no type",
            {"type 99 of tensor w"});
    rank.ok(tutti_state_add(state, "w", &x, 1, kType), "state_add");
    refused(rank, TUTTI_INVALID, tutti_state_add(state, "v", &x, 1, kType), "shared memory",
            {"tensor v", "shares memory with tensor w"});
    refused(rank, TUTTI_INVALID, tutti_state_move(state, "v", &x), "no such tensor",
            {"tutti_state_move", "tensor v"});
    refused(rank, TUTTI_INVALID, tutti_state_move(nullptr, "v", &x), "no state", {"state is NULL"});
    refused(rank, TUTTI_INVALID, tutti_state_remove(state, "v"), "no such tensor",
            {"tutti_state_remove", "tensor v"});
    refused(rank, TUTTI_INVALID, tutti_state_remove(state, nullptr), "no name", {"name is NULL"});
    refused(rank, TUTTI_INVALID, tutti_state_set_revision(nullptr, 1), "no state", {"state is NULL"});
    refused(rank, TUTTI_INVALID, tutti_state_revision(state, nullptr), "no place", {"tutti_state_revision"});
    refused(rank, TUTTI_INVALID, tutti_state_synchronize(nullptr, comm, nullptr, nullptr), "no state", {"NULL"});
    refused(rank, TUTTI_INVALID, tutti_state_synchronize(state, nullptr, nullptr, nullptr), "no communicator",
            {"communicator is NULL"});
    tutti_state_options options = TUTTI_STATE_OPTIONS_INIT;
    options.size = 3;
    refused(rank, TUTTI_INVALID, tutti_state_synchronize(state, comm, &options, nullptr), "options of another size",
            {"tutti_state_options.size is 3"});
    tutti_state_report report = TUTTI_STATE_REPORT_INIT;
    report.size = 3;
    refused(rank, TUTTI_INVALID, tutti_state_synchronize(state, comm, nullptr, &report), "a report of another size",
            {"tutti_state_report.size is 3"});
    rank.ok(tutti_group_begin(), "group_begin");
    refused(rank, TUTTI_INVALID, tutti_state_synchronize(state, comm, nullptr, nullptr), "in a group",
            {"tutti_state_synchronize", "tutti_group_end"});
    rank.ok(tutti_group_end(), "group_end");
    rank.ok(tutti_state_set_revision(state, 4), "set_revision");
    rank.ok(tutti_state_synchronize(state, comm, nullptr, nullptr), "synchronize alone");
    rank.ok(tutti_state_revision(state, &revision), "revision");
    rank.check(revision == 4 && x == 1, "it is not what it was");
    rank.ok(tutti_state_destroy(state), "state_destroy");
    rank.ok(tutti_state_destroy(nullptr), "state_destroy of nothing");
  });
}

TEST(Arguments, ADamagedIdIsRefused) {
  alone([](Rank& rank, tutti_comm*) {
    tutti_unique_id id;
    tutti_comm* comm = nullptr;
    rank.ok(tutti_unique_id_create(&id), "unique_id_create");
    for (const std::size_t at : {0u, 9u, 30u, 60u, 255u}) {
      tutti_unique_id damaged = id;
      damaged.bytes[at] ^= 0x10;
      refused(rank, TUTTI_INVALID, tutti_comm_create(&comm, 1, &damaged, 0, nullptr), "a damaged id", {"damaged"});
    }
    const tutti_unique_id zero{};
    refused(rank, TUTTI_INVALID, tutti_comm_create(&comm, 2, &zero, 0, nullptr), "no id at all", {"unique id"});
    refused(rank, TUTTI_INVALID, tutti_comm_create(&comm, 2, &id, 5, nullptr), "a rank", {"rank is 5"});
    rank.ok(tutti_comm_create(&comm, 1, &id, 0, nullptr), "the whole id");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
}

}  // namespace
}  // namespace tutti_test
