#include "src/state/exchange.h"

#include <algorithm>

namespace tutti {

Exchange::Stream& Exchange::stream_of(const Transfer& transfer) {
  const bool sends = transfer.from == self_;
  return streams_[{sends ? transfer.to : transfer.from, sends}];
}

void Exchange::add(const Transfer& transfer) {
  if (transfer.to == self_) is_awaited_[transfer.chunk] = true;
  ++(transfer.to == self_ ? receives_ : sends_);
  stream_of(transfer).waiting.push_back(transfer);
}

// Few pairs may have more under way each than many.
std::size_t Exchange::window() const {
  constexpr std::size_t kAll = 16;
  constexpr std::size_t kEach = 8;
  return std::clamp<std::size_t>(kAll / streams_.size(), 2, kEach);
}

std::optional<Transfer> Exchange::next() {
  for (auto& [who, stream] : streams_) {
    if (stream.waiting.empty() || stream.under_way >= window()) continue;
    const Transfer transfer = stream.waiting.front();
    if (transfer.from == self_ && is_awaited_[transfer.chunk]) continue;
    stream.waiting.pop_front();
    ++stream.under_way;
    return transfer;
  }
  return std::nullopt;
}

void Exchange::ended(const Transfer& transfer) {
  --stream_of(transfer).under_way;
  if (transfer.to == self_) is_awaited_[transfer.chunk] = false;
}

}  // namespace tutti
