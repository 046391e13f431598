// Gloo's side of the comparison. TUTTI_RANK and TUTTI_SIZE say who this is, PEER_STORE is a directory that all ranks
// share, PEER_GLOO_BCUBE=1 asks for its other way to all-reduce. Gloo has no shared memory between processes, and no
// reduce-scatter among its functions with options.
#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/alltoall.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "perf/peers/bench.h"

namespace {

std::shared_ptr<gloo::rendezvous::Context> context;
auto way = gloo::AllreduceOptions::Algorithm::UNSPECIFIED;

// The library throws; the measuring loop wants a status.
template <typename Act>
int check(Act&& act) {
  try {
    act();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gloo: %s\n", error.what());
    return 1;
  }
}

template <typename Value>
void all_reduce(const Value* input, Value* output, std::size_t count,
                void (*fold)(void*, const void*, const void*, std::size_t)) {
  gloo::AllreduceOptions options(context);
  options.setInput(const_cast<Value*>(input), count);
  options.setOutput(output, count);
  options.setReduceFunction(gloo::AllreduceOptions::Func(fold));
  options.setAlgorithm(way);
  gloo::allreduce(options);
}

void run(const peer_operation& o) {
  float* input = const_cast<float*>(o.input);
  const std::size_t all = o.count * static_cast<std::size_t>(context->size);
  if (o.collective == PEER_ALL_REDUCE) {
    all_reduce<float>(input, o.output, o.count, &gloo::sum<float>);
  } else if (o.collective == PEER_ALL_GATHER) {
    gloo::AllgatherOptions options(context);
    options.setInput(input, o.count);
    options.setOutput(o.output, all);
    gloo::allgather(options);
  } else if (o.collective == PEER_ALL_TO_ALL) {
    gloo::AlltoallOptions options(context);
    options.setInput(input, all);
    options.setOutput(o.output, all);
    gloo::alltoall(options);
  } else {
    gloo::BroadcastOptions options(context);
    options.setOutput(o.output, o.count);
    options.setRoot(o.root);
    gloo::broadcast(options);
  }
}

}  // namespace

int peer_open(int*, char***, const char* address, int* rank, int* size) {
  return check([&] {
    const auto number = [](const char* name) {
      const char* text = std::getenv(name);
      if (!text) throw std::runtime_error(std::string(name) + " is not set");
      return std::stoi(text);
    };
    *rank = number("TUTTI_RANK");
    *size = number("TUTTI_SIZE");
    const char* store_path = std::getenv("PEER_STORE");
    if (!store_path) throw std::runtime_error("PEER_STORE is not set");
    if (std::getenv("PEER_GLOO_BCUBE")) way = gloo::AllreduceOptions::Algorithm::BCUBE;
    gloo::transport::tcp::attr attributes;
    if (*address == '\0') {
      attributes.iface = "lo";
    } else {
      attributes.hostname = address;
    }
    auto device = gloo::transport::tcp::CreateDevice(attributes);
    gloo::rendezvous::FileStore store(store_path);
    context = std::make_shared<gloo::rendezvous::Context>(*rank, *size);
    context->connectFullMesh(store, device);
  });
}

int peer_run(const peer_operation* operation) {
  return check([&] { run(*operation); });
}

int peer_barrier(void) {
  return check([] {
    gloo::BarrierOptions options(context);
    gloo::barrier(options);
  });
}

int peer_combine(double value, double* largest, double* sum) {
  return check([&] {
    all_reduce<double>(&value, largest, 1, &gloo::max<double>);
    all_reduce<double>(&value, sum, 1, &gloo::sum<double>);
  });
}

int peer_close(void) {
  context.reset();
  return 0;
}

void* peer_allocate(std::size_t bytes) { return std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096); }

void peer_free(void* memory) { std::free(memory); }

int peer_has(peer_collective collective) { return collective != PEER_REDUCE_SCATTER; }
