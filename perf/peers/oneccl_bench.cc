// oneCCL's side of the comparison: its library for CPUs, over the MPI that comes with it. The launcher says who this
// is, MPI carries the address in which the ranks meet, and all that is measured goes through oneCCL.
#include <mpi.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "oneapi/ccl.hpp"
#include "perf/peers/bench.h"

// The static library expects the hooks of a profiler from outside, and leaves those alone that are null.
extern "C" {
void* __itt_domain_create_ptr__3_0 = nullptr;
void* __itt_event_create_ptr__3_0 = nullptr;
void* __itt_event_end_ptr__3_0 = nullptr;
void* __itt_event_start_ptr__3_0 = nullptr;
void* __itt_metadata_add_ptr__3_0 = nullptr;
void* __itt_string_handle_create_ptr__3_0 = nullptr;
void* __itt_task_begin_ptr__3_0 = nullptr;
void* __itt_task_end_ptr__3_0 = nullptr;
void* __itt_thread_set_name_ptr__3_0 = nullptr;
}

namespace {

std::optional<ccl::communicator> comm;

// The library throws; the measuring loop wants a status.
template <typename Act>
int check(Act&& act) {
  try {
    act();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "oneCCL: %s\n", error.what());
    return 1;
  }
}

void must(int status, const char* call) {
  if (status != MPI_SUCCESS) throw std::runtime_error(std::string(call) + " returned " + std::to_string(status));
}

void run(const peer_operation& o) {
  constexpr auto kType = ccl::datatype::float32;
  switch (o.collective) {
    case PEER_ALL_REDUCE:
      return ccl::allreduce(o.input, o.output, o.count, kType, ccl::reduction::sum, *comm).wait();
    case PEER_REDUCE_SCATTER:
      return ccl::reduce_scatter(o.input, o.output, o.count, kType, ccl::reduction::sum, *comm).wait();
    case PEER_ALL_GATHER:
      return ccl::allgather(o.input, o.output, o.count, kType, *comm).wait();
    case PEER_ALL_TO_ALL:
      return ccl::alltoall(o.input, o.output, o.count, kType, *comm).wait();
    default:
      return ccl::broadcast(o.output, o.count, kType, o.root, *comm).wait();
  }
}

// The first rank's store is where all meet.
std::shared_ptr<ccl::kvs> meet(int rank) {
  ccl::kvs::address_type address;
  std::shared_ptr<ccl::kvs> store;
  if (rank == 0) {
    store = ccl::create_main_kvs();
    address = store->get_address();
  }
  must(MPI_Bcast(address.data(), static_cast<int>(address.size()), MPI_BYTE, 0, MPI_COMM_WORLD), "MPI_Bcast");
  return store ? store : ccl::create_kvs(address);
}

}  // namespace

int peer_open(int* argc, char*** argv, const char*, int* rank, int* size) {
  return check([&] {
    int provided = 0;
    must(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided),
         "MPI_Init_thread");  // it has threads of its own
    must(MPI_Comm_rank(MPI_COMM_WORLD, rank), "MPI_Comm_rank");
    must(MPI_Comm_size(MPI_COMM_WORLD, size), "MPI_Comm_size");
    ccl::init();
    comm.emplace(ccl::create_communicator(*size, *rank, meet(*rank)));
  });
}

int peer_run(const peer_operation* operation) {
  return check([&] { run(*operation); });
}

int peer_barrier(void) {
  return check([] { ccl::barrier(*comm).wait(); });
}

int peer_combine(double value, double* largest, double* sum) {
  return check([&] {
    ccl::allreduce(&value, largest, 1, ccl::reduction::max, *comm).wait();
    ccl::allreduce(&value, sum, 1, ccl::reduction::sum, *comm).wait();
  });
}

int peer_close(void) {
  return check([] {
    comm.reset();
    must(MPI_Finalize(), "MPI_Finalize");
  });
}

void* peer_allocate(std::size_t bytes) {
  void* memory = nullptr;
  return MPI_Alloc_mem(static_cast<MPI_Aint>(bytes), MPI_INFO_NULL, &memory) == MPI_SUCCESS ? memory : nullptr;
}

void peer_free(void* memory) { MPI_Free_mem(memory); }

int peer_has(peer_collective collective) { return collective < PEER_COLLECTIVES; }
