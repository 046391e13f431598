"""What git says about the tree that is measured."""

import subprocess

from comparison.errors import Trouble


class Repository:
    """The git tree at `root`. `record_path` is left out when the tree is compared with its commit: measuring adds to it."""

    def __init__(self, root, record_path):
        self.root = root
        self.record_path = record_path
        inside = self._git("rev-parse", "--is-inside-work-tree")
        if inside.returncode != 0:
            raise Trouble(f"{root} is not a git tree, so that there is no commit to record figures for "
                          f"({inside.stderr.strip() or 'git says nothing more'}). Run perf/record in a clone of Tutti.")

    def _git(self, *arguments):
        try:
            return subprocess.run(["git", "-C", str(self.root), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, check=False)
        except FileNotFoundError:
            raise Trouble("git is not installed; perf/record asks it which commit is measured.") from None

    def commit(self, name="HEAD"):
        """The full hash of a commit by any name that git understands."""
        found = self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if found.returncode != 0:
            raise Trouble(f"git knows no commit '{name}' in {self.root}. Give a hash, a tag, or a name such as HEAD~3; a "
                          "shallow clone has only the newest (git fetch --unshallow).")
        return found.stdout.strip()

    def is_dirty(self):
        """Whether a tracked file differs from the commit."""
        changed = self._git("status", "--porcelain", "--untracked-files=no", "--", ".",
                            f":(exclude){self.record_path}")
        return changed.stdout.strip() != ""

    def subject(self, commit):
        """The first line of its message; empty if this clone does not have it."""
        found = self._git("show", "--no-patch", "--format=%s", commit)
        return found.stdout.strip() if found.returncode == 0 else ""
