// The contract of reduce.h as plain scalar code, one element at a time, simple enough to be checked by eye. The tests
// compare every kernel with it, bit for bit. It assumes the default floating-point environment.
#pragma once

#include "src/memory/reduce.h"

namespace tutti {

void reduce_reference(const Reduction& reduction, std::byte* target, std::span<const std::byte* const> sources,
                      std::size_t count);
void scale_reference(DataType type, std::byte* target, const std::byte* source, std::size_t count,
                     const std::byte* scalar);

}  // namespace tutti
