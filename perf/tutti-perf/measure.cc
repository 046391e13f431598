#include "perf/tutti-perf/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace tutti_perf {

namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::duration duration) { return std::chrono::duration<double, std::micro>(duration).count(); }

double across_ranks(Across across, const std::vector<double>& times) {
  switch (across) {
    case Across::rank_0:
      return times.front();
    case Across::minimum:
      return *std::min_element(times.begin(), times.end());
    case Across::maximum:
      return *std::max_element(times.begin(), times.end());
    case Across::average:
      break;
  }
  return std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
}

class Measuring {
 public:
  Measuring(Session& session, const Options& options, const Case& what, bool in_place,
            const std::vector<Buffers>& buffers)
      : session_(session),
        options_(options),
        case_(what),
        in_place_(in_place),
        operation_(what, session.rank(), session.ranks(), session.comm(), call_of(options)) {
    for (const Buffers& each : buffers) placed_.push_back(operation_.place(each, in_place));
  }

  Error measure(Measurement& result) {
    if (options_.check) {
      if (Error error = check(result)) return error;
    }
    if (Error error = repeat(options_.warmups)) return error;
    if (Error error = session_.barrier()) return error;
    const Clock::time_point begin = Clock::now();
    if (Error error = options_.latency ? repeat_timed(result) : repeat(options_.iterations)) return error;
    const double own_us = microseconds(Clock::now() - begin) / options_.iterations;
    std::vector<double> times;
    if (Error error = session_.gather(own_us, times)) return error;
    result.time_us = across_ranks(options_.across, times);
    result.algorithm_gbps = algorithm_bandwidth(case_.size_bytes, result.time_us);
    result.bus_gbps = result.algorithm_gbps * bus_factor(case_.kind, session_.ranks());
    return Error();
  }

 private:
  static tutti_call call_of(const Options& options) {
    tutti_call call = TUTTI_CALL_INIT;
    call.timeout_ns = static_cast<std::int64_t>(options.timeout_s * 1e9);
    call.algorithm = options.algorithm.empty() ? nullptr : options.algorithm.c_str();
    return call;
  }

  Error done(tutti_status status) const {
    return status == TUTTI_OK ? Error() : check_call(traits(case_.kind).name.data(), status);
  }

  Error repeat(int times) {
    if (options_.in_flight > 1) return repeat_in_flight(times);
    for (int i = 0; i < times; ++i) {
      if (const tutti_status status = operation_.run(placed_[0]); status != TUTTI_OK) return done(status);
    }
    return Error();
  }

  Error repeat_in_flight(int times) {
    const std::size_t window = placed_.size();
    std::vector<tutti_request*> requests(2 * window);
    for (int i = 0; i < times; ++i) {
      const std::size_t slot = static_cast<std::size_t>(i) % window;
      if (Error error = done(tutti_request_wait_all(2, &requests[2 * slot], -1))) return error;
      if (Error error = done(operation_.start(placed_[slot], &requests[2 * slot]))) return error;
    }
    return done(tutti_request_wait_all(requests.size(), requests.data(), -1));
  }

  Error repeat_timed(Measurement& result) {
    std::vector<double> times(static_cast<std::size_t>(options_.iterations));
    Clock::time_point last = Clock::now();
    for (double& time : times) {
      if (const tutti_status status = operation_.run(placed_[0]); status != TUTTI_OK) return done(status);
      const Clock::time_point now = Clock::now();
      time = microseconds(now - last);
      last = now;
    }
    const Latency own = latency_of(std::move(times));
    Latency worst;
    const auto take = [&](double Latency::*field) {
      std::vector<double> values;
      Error error = session_.gather(own.*field, values);
      worst.*field = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
      return error;
    };
    for (const auto field :
         {&Latency::min_us, &Latency::p50_us, &Latency::p90_us, &Latency::p99_us, &Latency::max_us}) {
      if (Error error = take(field)) return error;
    }
    result.latency = worst;
    return Error();
  }

  // Runs it on every buffer at once, on data with known results.
  Error check(Measurement& result) {
    const std::uint64_t seed = case_.size_bytes * 2 + (in_place_ ? 1 : 0);
    for (std::size_t i = 0; i < placed_.size(); ++i) operation_.prepare(placed_[i], in_place_, seed + 1000 * i);
    if (Error error = repeat(static_cast<int>(placed_.size()))) return error;
    std::uint64_t wrong = 0;
    for (std::size_t i = 0; i < placed_.size(); ++i) {
      wrong += operation_.count_wrong(placed_[i], in_place_, seed + 1000 * i);
    }
    if (operation_.rounds()) {
      if (Error error = check_same_bits(seed, wrong)) return error;
    }
    std::vector<std::uint64_t> all;
    if (Error error = session_.gather(wrong, all)) return error;
    result.wrong = std::accumulate(all.begin(), all.end(), std::uint64_t{0});
    return Error();
  }

  // Where sums round, the result depends on the order of folding: all ranks must have the same bits all the same, and
  // the same again in a second run.
  Error check_same_bits(std::uint64_t seed, std::uint64_t& wrong) {
    std::uint64_t first = 0;
    for (int run = 0; run < 2; ++run) {
      operation_.prepare_rounding(placed_[0], seed);
      if (const tutti_status status = operation_.run(placed_[0]); status != TUTTI_OK) return done(status);
      const std::uint64_t hash = hash_of(placed_[0].output, operation_.output_bytes());
      if (run == 0) first = hash;
      wrong += hash != first;
      std::vector<std::uint64_t> hashes;
      if (Error error = session_.gather(hash, hashes)) return error;
      wrong += hashes.front() != hash;
    }
    return Error();
  }

  Session& session_;
  const Options& options_;
  const Case& case_;
  const bool in_place_;
  const Operation operation_;
  std::vector<Buffers> placed_;
};

}  // namespace

Latency latency_of(std::vector<double> times_us) {
  std::sort(times_us.begin(), times_us.end());
  const auto at = [&](double quantile) {
    const double place = std::ceil(quantile * static_cast<double>(times_us.size())) - 1;
    return times_us[static_cast<std::size_t>(std::max(place, 0.0))];
  };
  return {times_us.front(), at(0.5), at(0.9), at(0.99), times_us.back()};
}

Error measure(Session& session, const Options& options, const Case& what, bool in_place,
              const std::vector<Buffers>& buffers, Measurement& result) {
  return Measuring(session, options, what, in_place, buffers).measure(result);
}

}  // namespace tutti_perf
