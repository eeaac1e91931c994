# How scripts make Python environments. Sourced, from the root of the repository.

cache=${MOBILENET_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or MOBILENET_CACHE}/.cache}/mobilenet}

# empty_environment FOLDER PYTHON: makes a virtual environment; "${pip[@]}" then installs into it.
#
# Debian keeps what puts pip into an environment in a package of its own, python3-venv. Without it, Python's pip from
# outside does the work.
empty_environment() {
  local venv=$1 python=$2
  rm -rf "$venv"
  if "$python" -m venv "$venv" >/dev/null 2>&1; then
    pip=("$venv/bin/python" -m pip --disable-pip-version-check)
  else
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv" || return
    pip=(python3 -m pip --disable-pip-version-check --python "$venv/bin/python")
  fi
}
