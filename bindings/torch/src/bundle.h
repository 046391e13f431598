// Bundle: several operations that torch takes for one (what was started between startCoalescing and endCoalescing).
#pragma once

#include <torch/csrc/distributed/c10d/Work.hpp>
#include <vector>

namespace tutti::pytorch {

class Bundle final : public c10d::Work {
 public:
  Bundle(int rank, std::vector<c10::intrusive_ptr<c10d::Work>> parts)
      : Work(rank, c10d::OpType::COALESCED), parts_(std::move(parts)) {}

  bool isCompleted() override;
  bool isSuccess() const override;
  std::exception_ptr exception() const override;
  bool wait(std::chrono::milliseconds timeout = kNoTimeout) override;
  std::vector<at::Tensor> result() override;
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override;
  void abort() override;

 private:
  const std::vector<c10::intrusive_ptr<c10d::Work>> parts_;
};

}  // namespace tutti::pytorch
