#include "bindings/torch/src/bundle.h"

#include <ATen/core/jit_type.h>

#include <algorithm>
#include <atomic>
#include <memory>

namespace tutti::pytorch {

bool Bundle::isCompleted() {
  return std::all_of(parts_.begin(), parts_.end(), [](const auto& part) { return part->isCompleted(); });
}

bool Bundle::isSuccess() const {
  return std::all_of(parts_.begin(), parts_.end(), [](const auto& part) { return part->isSuccess(); });
}

std::exception_ptr Bundle::exception() const {
  for (const auto& part : parts_) {
    if (std::exception_ptr error = part->exception()) return error;
  }
  return nullptr;
}

bool Bundle::wait(std::chrono::milliseconds timeout) {
  for (const auto& part : parts_) part->wait(timeout);
  return true;
}

std::vector<at::Tensor> Bundle::result() {
  std::vector<at::Tensor> all;
  for (const auto& part : parts_) {
    for (const at::Tensor& tensor : part->result()) all.push_back(tensor);
  }
  return all;
}

c10::intrusive_ptr<c10::ivalue::Future> Bundle::getFuture() {
  auto all = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
  const auto self = c10::intrusive_ptr<Bundle>::reclaim_copy(this);
  const auto left = std::make_shared<std::atomic<std::size_t>>(parts_.size() + 1);
  const auto ended = [self, all, left] {
    if (left->fetch_sub(1) > 1) return;
    if (const std::exception_ptr error = self->exception()) {
      all->setError(error);
    } else {
      all->markCompleted(c10::IValue(self->result()));
    }
  };
  for (const auto& part : parts_) part->getFuture()->addCallback([ended](c10::ivalue::Future&) { ended(); });
  ended();
  return all;
}

void Bundle::abort() {
  for (const auto& part : parts_) part->abort();
}

}  // namespace tutti::pytorch
