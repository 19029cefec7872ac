#!/bin/sh
# Installs the Debian 12 packages that kdc needs and this machine lacks; does nothing, and needs no network, where all are there.
#   usage: sh tests/setup.sh build|jit|test|data...
# Exit code: 0 all there, 1 a package could not be installed (its name is printed).
set -eu

build="cmake ninja-build gcc libc6-dev pkg-config re2c bison zlib1g-dev libjansson-dev libopenblas0-openmp libdnnl-dev"
jit="llvm-19-dev"                                # kdc builds and works without it, and finds 15 to 19
test="libcmocka-dev clang libclang-rt-14-dev"
data="dataset-fashion-mnist"

wanted=
for group in "$@"; do
  case $group in
    build) wanted="$wanted $build" ;;
    jit) wanted="$wanted $jit" ;;
    test) wanted="$wanted $test" ;;
    data) wanted="$wanted $data" ;;
    *) echo "setup.sh: no group '$group': build, jit, test or data" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "setup.sh: this is not Debian; install what these packages hold yourself:$wanted" >&2
  exit 0
fi
missing=
for p in $wanted; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

echo "installing$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null 2>&1 || { echo "setup.sh: run as root, or install:$missing" >&2; exit 1; }
  as_root=sudo
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@" </dev/null >>"$log" 2>&1; }
# shellcheck disable=SC2086
if apt update && apt install --no-install-recommends $missing; then exit 0; fi
tail -20 "$log" >&2
echo "setup.sh: could not install:$missing" >&2
exit 1
