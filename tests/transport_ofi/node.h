// A process that talks over libfabric: what the tests of transports/ofi are made of.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/transport_fabric/node.h"
#include "transports/ofi/wire.h"

namespace tutti::ofi {

struct Node : fabric::Node {
  explicit Node(const std::string& provider) : fabric::Node(make_wire(provider)) {}

  static std::unique_ptr<OfiWire> make_wire(const std::string& provider) {
    const auto api = load_api();
    EXPECT_TRUE(api.is_ok()) << api.status().text();
    auto infos = choose(**api, provider, {});
    EXPECT_TRUE(infos.is_ok()) << infos.status().text();
    auto domain = Domain::take(**api, std::move(infos->front()));
    EXPECT_TRUE(domain.is_ok()) << domain.status().text();
    return std::make_unique<OfiWire>(*std::move(domain));
  }
};

using fabric::meet;
using fabric::say;
using fabric::until;

}  // namespace tutti::ofi
