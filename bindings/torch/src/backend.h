// Backend: torch's process group over Tutti, for tensors on the CPU. Each call makes a Launch (what to start, over
// which memory) and starts it as a Flight; nothing here waits, but for allreduce_sparse, whose steps depend on each
// other, and for an operation under way whose memory the new one would disturb.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <unordered_set>
#include <vector>

#include "bindings/torch/src/flight.h"
#include "bindings/torch/src/group.h"

namespace tutti::pytorch {

using Tensors = std::vector<at::Tensor>;
using WorkPointer = c10::intrusive_ptr<c10d::Work>;

class Backend final : public c10d::Backend {
 public:
  static constexpr const char* kName = "tutti";

  struct Options final : c10d::Backend::Options {
    Options() : c10d::Backend::Options(kName) {}
    std::string settings;  // "TUTTI_TRANSPORTS=tcp": go before the environment's
    std::string attempt;   // of the job: Group::Options
#ifdef C10D_BACKEND_HAS_RECONFIGURE
    c10::intrusive_ptr<c10d::Backend::Options> clone() const override { return c10::make_intrusive<Options>(*this); }
#endif
  };

  Backend(c10::intrusive_ptr<c10d::Store> store, int rank, int size, c10::intrusive_ptr<Options> options);
  ~Backend() override;

  const std::string getBackendName() const override { return kName; }
  c10::intrusive_ptr<c10d::Backend::Options> getBackendOptions() override { return options_; }
  bool supportsSplitting() const override { return true; }
  bool supportsCoalescing() const override { return true; }
  bool supportsShrinking() const override { return true; }
  void setTimeout(Milliseconds timeout) override;

  WorkPointer broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override;
  WorkPointer allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override;
  WorkPointer allreduce_sparse(Tensors& tensors, const c10d::AllreduceOptions& options) override;
  WorkPointer allreduce_coalesced(Tensors& tensors, const c10d::AllreduceCoalescedOptions& options) override;
  WorkPointer reduce(Tensors& tensors, const c10d::ReduceOptions& options) override;
  WorkPointer allgather(std::vector<Tensors>& outputs, Tensors& inputs,
                        const c10d::AllgatherOptions& options) override;
  WorkPointer _allgather_base(at::Tensor& output, at::Tensor& input, const c10d::AllgatherOptions& options) override;
  WorkPointer allgather_coalesced(std::vector<Tensors>& outputs, Tensors& inputs,
                                  const c10d::AllgatherOptions& options) override;
  WorkPointer allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                              const c10d::AllgatherOptions& options) override;
  WorkPointer gather(std::vector<Tensors>& outputs, Tensors& inputs, const c10d::GatherOptions& options) override;
  WorkPointer scatter(Tensors& outputs, std::vector<Tensors>& inputs, const c10d::ScatterOptions& options) override;
  WorkPointer reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                             const c10d::ReduceScatterOptions& options) override;
  WorkPointer _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                   const c10d::ReduceScatterOptions& options) override;
  WorkPointer reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                              const c10d::ReduceScatterOptions& options) override;
  WorkPointer alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<std::int64_t>& output_splits,
                            std::vector<std::int64_t>& input_splits, const c10d::AllToAllOptions& options) override;
  WorkPointer alltoall(Tensors& outputs, Tensors& inputs, const c10d::AllToAllOptions& options) override;
  WorkPointer barrier(const c10d::BarrierOptions& options) override;
  void monitoredBarrier(const c10d::BarrierOptions& options, bool wait_all_ranks) override;

  WorkPointer send(Tensors& tensors, int target, int tag) override;
  WorkPointer recv(Tensors& tensors, int source, int tag) override;
  WorkPointer recvAnysource(Tensors& tensors, int tag) override;

  void startCoalescing() override;
  WorkPointer endCoalescing() override;

  void setSequenceNumberForGroup() override {}
  std::uint64_t getSequenceNumberForGroup() override { return sequence_; }

  c10::intrusive_ptr<c10d::Backend> split(const c10::intrusive_ptr<c10d::Store>& store, const std::vector<int>& ranks,
                                          const c10::intrusive_ptr<c10d::Backend::Options>& options) override;
  c10::intrusive_ptr<c10d::Backend> shrink(const std::vector<std::int64_t>& excluded, int flags,
                                           const c10::intrusive_ptr<c10d::Backend::Options>& options) override;

#ifdef C10D_BACKEND_HAS_RECONFIGURE  // torch 2.14 and later
  bool supportsReconfigure() const override { return true; }
  c10d::ReconfigureHandle get_reconfigure_handle() const override { return handle_; }
  // Collective over the members that are named; blocks until all have come. What there was before is closed.
  WorkPointer reconfigure(const c10d::ReconfigureOptions& options) override;
#endif

  bool supportsTensorAlloc(c10::DeviceIndex) override { return true; }
  at::Tensor allocateTensor(long size, at::TensorOptions options) override;

  void registerOnCompletionHook(std::function<void(std::shared_ptr<c10d::WorkInfo>)>&& hook) override;
  void waitForPendingWorks() override;
  void enableCollectivesTiming() override {}
  c10d::ErrorType getError() override;
  void abort() override { abort_because("abort() of its process group was called"); }
  void abort_because(const std::string& reason);
  void shutdown() override;

  // What has gone wrong; OK while nothing has.
  Failure failure();

 private:
  static Group::Options group_options(const Options& options);
  static bool starts_unconfigured(const Options& options);
  static std::string new_handle();
  std::shared_ptr<Group> current() const;  // null where there is none yet
  std::shared_ptr<Group> group() const;    // throws then
  Launch prepare(c10d::OpType type, const char* title, Milliseconds timeout, bool is_async = true) const;
  WorkPointer start(Launch launch);
  c10::intrusive_ptr<Flight> take_off(Launch launch);
  WorkPointer receive(Tensors& tensors, int source, int tag, c10d::OpType type, const char* title);
  void wait_for_memory(const Launch& launch);
  void check_lists(std::size_t lists, const char* what) const;

  // Parts of launches.
  void add_all_reduce(Launch& launch, const at::Tensor& tensor, const c10d::ReduceOp& op) const;
  void add_all_gather(Launch& launch, const Tensors& outputs, const at::Tensor& input) const;
  void add_all_gather_base(Launch& launch, const at::Tensor& output, const at::Tensor& input) const;
  void add_reduce_scatter_base(Launch& launch, const at::Tensor& output, const at::Tensor& input,
                               const c10d::ReduceOp& op) const;

  at::Tensor gathered(const at::Tensor& mine, const std::vector<std::int64_t>& rows, Milliseconds timeout);

  const c10::intrusive_ptr<c10d::Store> store_;
  const c10::intrusive_ptr<Options> options_;
  const std::string handle_;  // this process's name where members are listed
  mutable std::mutex mutex_;
  std::shared_ptr<Group> group_;            // under the mutex; null before the first reconfigure()
  std::unordered_set<std::int64_t> uuids_;  // of the groups so far
  std::atomic<std::uint64_t> sequence_{0};
  bool is_coalescing_ = false;
  std::vector<WorkPointer> coalesced_;
};

}  // namespace tutti::pytorch
