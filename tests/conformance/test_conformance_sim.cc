// The simulated network against the conformance suite: with and without segments, roomy and tight.
#include "tests/conformance/sim_world.h"

namespace tutti::conformance {

namespace {

SimOptions with_segment() {
  SimOptions options;
  options.segment_bytes = 64 * 1024;
  options.lent_buffers = 3;
  return options;
}

// Little room, refusals without a reason, nothing copied beyond the header, every frame to be fetched later.
SimOptions tight() {
  SimOptions options;
  options.queue_frames = 3;
  options.queue_bytes = 100'000;
  options.again_probability = 0.2;
  options.copied_bytes_max = 0;
  options.no_data_probability = 1;
  options.fetch_pending_probability = 1;
  options.pending_probability = 1;
  options.rendezvous_probability = 0.9;
  options.lanes_max = 1;
  return options;
}

}  // namespace

}  // namespace tutti::conformance

TUTTI_CONFORMANCE(Sim, std::make_unique<SimWorld>(SimOptions{}));
TUTTI_CONFORMANCE(SimWithSegment, std::make_unique<SimWorld>(with_segment()));
TUTTI_CONFORMANCE(SimTight, std::make_unique<SimWorld>(tight()));
