// What collectives are to give, computed in the plainest way, over int32.
#pragma once

#include <cstdint>
#include <vector>

#include "src/engine/signature.h"

namespace tutti {

using Ints = std::vector<std::int32_t>;

// Every rank's output, from every rank's input. Outputs that the collective does not define are empty.
inline std::vector<Ints> reference(CallKind kind, const std::vector<Ints>& inputs, std::size_t count, Rank root) {
  const std::size_t p = inputs.size();
  std::vector<Ints> outputs(p);
  const auto sum_at = [&](std::size_t i) {
    std::uint32_t sum = 0;
    for (const Ints& input : inputs) sum += static_cast<std::uint32_t>(input[i]);
    return static_cast<std::int32_t>(sum);
  };
  for (std::size_t r = 0; r < p; ++r) {
    const bool at_root = static_cast<Rank>(r) == root;
    Ints& out = outputs[r];
    switch (kind) {
      case CallKind::all_reduce:
      case CallKind::reduce:
        if (kind == CallKind::reduce && !at_root) break;
        for (std::size_t i = 0; i < count; ++i) out.push_back(sum_at(i));
        break;
      case CallKind::broadcast:
        out = inputs[static_cast<std::size_t>(root)];
        break;
      case CallKind::all_gather:
      case CallKind::gather:
        if (kind == CallKind::gather && !at_root) break;
        for (const Ints& input : inputs) out.insert(out.end(), input.begin(), input.end());
        break;
      case CallKind::reduce_scatter:
        for (std::size_t i = 0; i < count; ++i) out.push_back(sum_at(r * count + i));
        break;
      case CallKind::all_to_all:
        for (const Ints& input : inputs) {
          for (std::size_t i = 0; i < count; ++i) out.push_back(input[r * count + i]);
        }
        break;
      case CallKind::scatter:
        for (std::size_t i = 0; i < count; ++i) out.push_back(inputs[static_cast<std::size_t>(root)][r * count + i]);
        break;
      default:
        break;
    }
  }
  return outputs;
}

// How many elements a rank's input has.
inline std::size_t input_elements(CallKind kind, std::size_t count, std::size_t ranks) {
  const bool blocks = kind == CallKind::reduce_scatter || kind == CallKind::all_to_all || kind == CallKind::scatter;
  return blocks ? count * ranks : count;
}

inline std::size_t output_elements(CallKind kind, std::size_t count, std::size_t ranks) {
  const bool blocks = kind == CallKind::all_gather || kind == CallKind::all_to_all || kind == CallKind::gather;
  return blocks ? count * ranks : count;
}

}  // namespace tutti
