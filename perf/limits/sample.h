// A figure that was measured several times.
#pragma once

#include <string>
#include <vector>

namespace tutti_limits {

struct Sample {
  double median = 0;
  double min = 0;
  double max = 0;
  int repetitions = 0;
};

// Of values in any order; not empty. The median of an even number of values is the mean of the middle two.
Sample sample_of(std::vector<double> values);

// A figure, or a sentence that says why there is none.
struct Figure {
  Sample sample;
  std::string missing;  // empty: sample holds

  bool is_there() const { return missing.empty(); }
};

}  // namespace tutti_limits
