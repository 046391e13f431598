# Sourced by the scripts: a Python with the packages that an example needs, in .venv.

# A Python of at least 3.9 that can make virtual environments.
find_python() {
  local candidate
  for candidate in python3 python3.11 python3.12 python3.13 python3.10 /usr/bin/python3; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
}

# make_bare_venv COMMAND...: runs what it needs by `COMMAND...`, such as `quietly`; 0 once there is .venv with pip.
make_bare_venv() {
  local python
  if .venv/bin/python -m pip --version >/dev/null 2>&1; then
    return
  fi
  python=$(find_python)
  if [ -z "$python" ]; then
    echo "no Python of at least 3.9 with venv was found" >&2
    return 1
  fi
  echo "Making .venv ($("$python" --version))"
  "$@" "$python" -m venv --clear .venv
}

# make_venv COMMAND...: the same; 0 once .venv has numpy, scikit-learn, matplotlib and rich.
make_venv() {
  make_bare_venv "$@" || return
  if .venv/bin/python -c 'import matplotlib, numpy, rich, sklearn' >/dev/null 2>&1; then
    echo "Python's packages are there (.venv)."
    return
  fi
  echo "Installing numpy, scikit-learn, matplotlib and rich into .venv"
  "$@" .venv/bin/python -m pip install -q --disable-pip-version-check numpy scikit-learn matplotlib rich
}
