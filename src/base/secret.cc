#include "src/base/secret.h"

#include "src/base/format.h"
#include "src/base/private_file.h"

namespace tutti {

Result<std::string> read_secret_file(std::string_view setting, const std::string& path) {
  constexpr std::size_t kLongestSecret = 4096;
  auto text = read_small_file(setting, path, kLongestSecret, Readers::owner_only);
  if (!text) return text;
  if (text->ends_with('\n')) text->pop_back();
  if (text->empty()) return Status(Code::invalid, format("{} is \"{}\", which is empty", setting, path));
  return text;
}

Result<std::string> read_secret(const Settings& settings) {
  if (settings.secret_file.empty()) return settings.secret;
  return read_secret_file("TUTTI_SECRET_FILE", settings.secret_file);
}

}  // namespace tutti
