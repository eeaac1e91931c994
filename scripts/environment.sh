# Makes Python environments for other scripts, which source this file from the root of the repository.

cache=${MOBILENET_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or MOBILENET_CACHE}/.cache}/mobilenet}

# empty_environment FOLDER PYTHON: makes a virtual environment; "${pip[@]}" then installs into it.
#
# On Debian, a separate package, python3-venv, puts pip into an environment. Without it, the system's pip installs into
# the environment from outside.
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
