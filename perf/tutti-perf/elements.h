// Test data whose results are known exactly: tables of elements that repeat with a period, for what each rank puts in
// and for what a reduction must give, bit for bit. Pure.
//
// Integers are random; their sums and products wrap. Floats are small numbers chosen so that every partial result, in
// any order of folding, is representable: the sum is exact whatever the algorithm. Data that is only moved is random
// bytes. The period is a prime, so a shift by any power of two shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tutti/tutti.h"

namespace tutti_perf {

constexpr std::size_t kPeriod = 8179;
constexpr int kTypes = 14;
constexpr int kOps = 11;

bool is_float(tutti_datatype type);
// Whether this reduction exists for the type.
bool is_defined(tutti_op op, tutti_datatype type);

// kPeriod elements; element i of a buffer that starts at `start` is table[(start + i) % kPeriod].
using Table = std::vector<std::byte>;

Table random_table(tutti_datatype type, std::uint64_t seed);              // any bits: for data that is moved
Table rounding_table(tutti_datatype type, int rank, std::uint64_t seed);  // finite floats whose sums round
Table reduction_input(tutti_datatype type, tutti_op op, int rank, int ranks, std::uint64_t seed);
Table reduction_result(tutti_datatype type, tutti_op op, int ranks, std::uint64_t seed);
// This rank's factor of TUTTI_PREMULTIPLIED_SUM, one element.
std::vector<std::byte> premultiplier(tutti_datatype type, int rank);

void fill(std::byte* buffer, std::size_t count, std::size_t element_bytes, const Table& table, std::size_t start);
// How many elements differ from what fill would have written.
std::size_t count_wrong(const std::byte* buffer, std::size_t count, std::size_t element_bytes, const Table& table,
                        std::size_t start);
// A hash of the bytes; equal buffers have equal ones.
std::uint64_t hash_of(const std::byte* buffer, std::size_t bytes);

}  // namespace tutti_perf
