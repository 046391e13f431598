#include "perf/tutti-perf/plot.h"

#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

namespace tutti_perf {

namespace {

// Beside this program, as installed and as built; else wherever PATH has it.
std::string find_script() {
  std::error_code ignored;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const std::filesystem::path beside = self.parent_path() / "tutti-plot";
  return std::filesystem::exists(beside, ignored) ? beside.string() : "tutti-plot";
}

}  // namespace

Error draw_plot(const nlohmann::json& results, const std::string& path) {
  const std::string script = find_script();
  int ends[2];
  if (pipe(ends) != 0) return Error("no pipe to tutti-plot could be had");
  const std::string text = results.dump();
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    close(ends[1]);
    execlp(script.c_str(), script.c_str(), "-", "-o", path.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  close(ends[0]);
  std::FILE* input = fdopen(ends[1], "w");
  const bool written = child > 0 && input && std::fwrite(text.data(), 1, text.size(), input) == text.size();
  if (input) std::fclose(input);
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return Error("tutti-plot could not be started");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    return Error(fmt::format("{} could not be run, so there is no {}; it needs Python 3. The results are in --json.",
                             script, path));
  }
  // tutti-plot has said why.
  if (status != 0 || !written) return Error(fmt::format("tutti-plot did not draw {}", path));
  return Error();
}

}  // namespace tutti_perf
