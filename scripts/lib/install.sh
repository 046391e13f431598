# Sourced by the scripts: installs the packages of scripts/packages that are missing. Debian 12 or a relative, as root or
# with sudo; where everything is there, it neither asks for root nor uses the network.

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    printf 'This needs root, and there is no sudo: %s\n' "$*" >&2
    return 1
  fi
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# missing_packages GROUP...: the names that are not installed, one a line.
missing_packages() {
  local group name wanted
  while read -r group name; do
    for wanted in "$@"; do
      if [ "$group" = "$wanted" ] && ! is_installed "$name"; then echo "$name"; fi
    done
  done < <(sed 's/#.*//' "$(dirname "${BASH_SOURCE[0]}")/../packages")
}

# install_packages GROUP...: 0 once everything of these groups is installed.
install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if [ ${#missing[@]} -eq 0 ]; then
    echo "All packages are there."
    return
  fi
  if ! command -v apt-get >/dev/null; then
    printf 'These packages are missing, and there is no apt-get: %s\n' "${missing[*]}" >&2
    return 1
  fi
  echo "Installing by apt: ${missing[*]}"
  as_root apt-get update -q &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}
