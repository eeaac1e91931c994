# Makes Python environments for other scripts, which source this file from the root of the repository.

cache=${MOBILENET_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or MOBILENET_CACHE}/.cache}/mobilenet}
# Some programs start in other folders. An environment works with one version of Python on one kind of machine.
version=$(python3 -c 'import platform, sys; print("%d.%d" % sys.version_info[:2], platform.machine(), sep="-")') || true
cache=$(realpath -ms -- "$cache")/python-$version
mkdir -p "$cache"

# All clones share the environments, so another script waits until this one has finished.
exec {lock}>"$cache/lock"
flock --nonblock "$lock" || { echo "waiting for a script of another clone that uses $cache" >&2; flock "$lock"; }

# empty_environment FOLDER PYTHON: makes a virtual environment; "${pip[@]}" then installs into it.
empty_environment() {
  local venv=$1 python=$2
  rm -rf "$venv"
  if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv" || return
  fi
  pip_of "$venv"
}

# pip_of FOLDER: makes "${pip[@]}" install into this virtual environment.
#
# On Debian, a separate package, python3-venv, puts pip into an environment. Without it, the system's pip installs into
# the environment from outside.
pip_of() {
  pip=("$1/bin/python" -m pip --disable-pip-version-check)
  "${pip[@]}" --version >/dev/null 2>&1 || pip=(python3 -m pip --disable-pip-version-check --python "$1/bin/python")
}
