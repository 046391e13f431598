// The order of the folders: who may include whom. One table, checked against every #include line of the tree.
//
//   include <- bindings, perf, examples          src/base <- everything else below
//   src/base <- src/memory, src/schedule, src/diagnosis, src/membership
//   src/schedule <- algorithms                   src/memory, src/transport <- transports/NAME (never one another)
//   algorithms, src/memory, src/schedule <- src/planning <- src/engine <- src/api (which alone sees transports/NAME)
//
// A transport therefore never sees a rank, a collective or a schedule; an algorithm never sees a byte or a pointer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tutti {

// A folder and the project's own folders whose headers its files may include, besides their own.
struct Layer {
  std::string_view folder;
  std::vector<std::string_view> may_include;
};

// From the bottom up.
const std::vector<Layer>& layers();

// The deepest folder of the table that `path` lies in ("transports/tcp" for transports/tcp/link.cc); empty if none.
std::string_view layer_of(std::string_view path);

// One sentence for each #include line in `text` that breaks the order; `path` is relative to the project's root.
std::vector<std::string> wrong_arrows(std::string_view path, std::string_view text);

}  // namespace tutti
