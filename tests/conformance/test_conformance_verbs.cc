// The conformance suite on the verbs transport, set up over tcp on this host's loopback.
#include "tests/conformance/verbs_world.h"

TUTTI_CONFORMANCE(Verbs, std::make_unique<VerbsWorld>());
