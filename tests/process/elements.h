// Element types as the tests understand them, written from the header's words and apart from the library's kernels:
// numbers to bits and back, inputs that every rank can compute for every other, and what a reduction of them must be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "include/tutti/tutti.h"

namespace tutti_test {

using Bytes = std::vector<std::byte>;

constexpr int kTypes = 14;
constexpr int kOps = 11;
// Inputs repeat after so many elements (a prime, so that a misplaced segment is seen).
constexpr std::size_t kPeriod = 4099;

enum class Family {
  exact,   // small whole numbers: every order of folding gives the same
  random,  // the order may matter in the last bits
  bits     // any bits, for movement
};

bool is_float(tutti_datatype type);
bool is_signed(tutti_datatype type);
bool op_exists(tutti_datatype type, tutti_op op);
double decode(tutti_datatype type, std::uint64_t bits);
std::uint64_t encode(tutti_datatype type, double value);  // rounds to nearest, ties to even
std::uint64_t get_bits(tutti_datatype type, const std::byte* at);
void put_bits(tutti_datatype type, std::byte* at, std::uint64_t bits);
std::uint64_t mix(std::uint64_t a, std::uint64_t b);

struct InputKind {
  tutti_datatype type;
  tutti_op op;
  Family family;
  std::uint64_t seed;
};

// `length` (at most kPeriod) elements of this rank's input.
Bytes input_tile(const InputKind& kind, int rank, std::size_t length);
// The rank's factor for TUTTI_PREMULTIPLIED_SUM, as one element.
Bytes scalar_of(const InputKind& kind, int rank);

// What the reduction over `ranks` inputs is, elementwise.
struct Expected {
  Bytes tile;                     // the very bits, if is_exact
  std::vector<double> value;      // else: the float64 reference
  std::vector<double> tolerance;  // and how far a result may be from it
  bool is_exact = true;
};
Expected reduced_tile(const InputKind& kind, int ranks, std::size_t length);

}  // namespace tutti_test
