// Fraction: an exact, non-negative rational, always in lowest terms, so that equal numbers compare equal member by
// member. For the counts of a schedule (a 64-bit numerator and denominator are far above what any schedule needs).
#pragma once

#include <cstdint>
#include <numeric>
#include <string>

#include "src/base/format.h"

namespace tutti {

struct Fraction {
  std::uint64_t num = 0;
  std::uint64_t den = 1;

  Fraction() = default;
  Fraction(std::uint64_t numerator, std::uint64_t denominator = 1) {  // NOLINT: a whole number is a fraction
    const std::uint64_t divisor = std::gcd(numerator, denominator);
    num = numerator / divisor;
    den = denominator / divisor;
  }

  double value() const { return static_cast<double>(num) / static_cast<double>(den); }

  friend Fraction operator+(const Fraction& a, const Fraction& b) {
    const std::uint64_t common = std::lcm(a.den, b.den);
    return {a.num * (common / a.den) + b.num * (common / b.den), common};
  }
  friend Fraction operator*(const Fraction& a, const Fraction& b) {
    const Fraction left(a.num, b.den);  // reduces crosswise first: the products stay small
    const Fraction right(b.num, a.den);
    return {left.num * right.num, left.den * right.den};
  }
  friend bool operator==(const Fraction&, const Fraction&) = default;
  friend bool operator<(const Fraction& a, const Fraction& b) {
    return static_cast<unsigned __int128>(a.num) * b.den < static_cast<unsigned __int128>(b.num) * a.den;
  }
};

inline std::string to_string(const Fraction& f) {
  return f.den == 1 ? format("{}", f.num) : format("{}/{}", f.num, f.den);
}

}  // namespace tutti
