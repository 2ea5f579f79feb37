#!/usr/bin/env bash
# Builds what a release consists of, into release/: both binaries without the Swift toolchain's libraries around them, a
# Debian package, and the checksum of each, signed. Run by `make release`, on Debian 12 (a binary runs where glibc is as new
# or newer).
#
#   dist/release.sh [binaries|package|all]
#   dist/release.sh checksums FILE...      of files in release/
#
#   RELEASE_KEY    the file with the private key (Ed25519, PEM) that signs; without it nothing is signed, and said so
#   RELEASE_KEYS   the public keys that sites get with this version (dist/release-keys); RELEASE_KEY's is among them
#
# The Swift runtime, Foundation, hiredis and SQLite are linked in; libcurl, libstdc++ and glibc are the system's.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly TARGET=x86_64-unknown-linux-gnu
readonly SCRATCH=.build/static
readonly OUT=${RELEASE:-release}
readonly KEYS=${RELEASE_KEYS:-dist/release-keys}
key=${RELEASE_KEY:-}
what=${1:-all}
# Every file's time in the package; the commit's, so that the same commit makes the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

# A key that no site trusts makes releases that no site installs: found before the build, not after.
check_key() {
  local public trusted
  [ -n "$key" ] || return 0
  public=$(openssl pkey -in "$key" -pubout) || { echo "release: RELEASE_KEY=$key is no private key" >&2; exit 78; }
  openssl pkey -in "$key" -noout -text | grep -q '^ED25519' || { echo "release: RELEASE_KEY=$key is no Ed25519 key" >&2; exit 78; }
  for trusted in "$KEYS"/*.pem; do
    if [ "$public" = "$(openssl pkey -pubin -in "$trusted" -pubout 2>/dev/null)" ]; then return 0; fi
  done
  echo "release: the public half of RELEASE_KEY=$key is not in $KEYS: openssl pkey -in KEY -pubout -out $KEYS/NAME.pem" >&2
  exit 78
}

# checksums FILE...: the signature is of the checksum's file, so that it covers the name too.
checksums() {
  local file
  for file in "$@"; do
    rm -f "$OUT/$file.sha256.sig"
    (cd "$OUT" && sha256sum "$file" >"$file.sha256")
    if [ -n "$key" ]; then
      openssl pkeyutl -sign -inkey "$key" -rawin -in "$OUT/$file.sha256" -out "$OUT/$file.sha256.sig"
    else
      echo "release: $file is not signed (RELEASE_KEY): the update script will not install it" >&2
    fi
  done
}

binaries() {
  local archives=$SCRATCH/archives library archive product
  mkdir -p "$archives" "$OUT"
  # The linker looks here first and finds archives only.
  for library in hiredis sqlite3; do
    archive=$(clang -print-file-name="lib$library.a")
    [ -e "$archive" ] || { echo "release: lib$library.a is missing (lib$library-dev)" >&2; exit 69; }
    ln -sf "$archive" "$archives/"
    # SwiftPM takes -L from here, and the linker finds the archive there before the shared library elsewhere.
    sed -E -e "s#^Libs:.*#Libs: -L$PWD/$archives -l$library#" -e '/^Cflags:/s/ -D[^ ]*//g' \
      "$(pkg-config --variable=pcfiledir "$library")/$library.pc" >"$archives/$library.pc"
  done
  for product in tracker traffic-consumer; do
    PKG_CONFIG_PATH=$PWD/$archives swift build -c release --scratch-path "$SCRATCH" --static-swift-stdlib --product "$product"
    # Names stay, for backtraces and profiles; what a debugger wants goes.
    strip --strip-debug -o "$OUT/$product-$TARGET" "$SCRATCH/release/$product"
    chmod 0755 "$OUT/$product-$TARGET"
    checksums "$product-$TARGET"
    if ldd "$OUT/$product-$TARGET" | grep -E 'libswift|libFoundation|libdispatch|libhiredis|libsqlite3|not found'; then
      echo "release: $product needs a library that a system without the toolchain lacks" >&2
      exit 70
    fi
  done
}

package() {
  local version stage depends
  version=$("$OUT/tracker-$TARGET" --version | awk '{print $2}')
  stage=$(mktemp -d)
  chmod 0755 "$stage"
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf '$stage'" EXIT
  make --no-print-directory install-files DESTDIR="$stage" PREFIX=/usr
  mkdir -p "$stage/DEBIAN"
  install -m 0755 dist/deb/postinst dist/deb/prerm dist/deb/postrm "$stage/DEBIAN/"
  (cd "$stage" && find etc -type f -printf '/%p\n' | sort) >"$stage/DEBIAN/conffiles"
  # What the binaries link, as the Debian of this machine names it. dpkg-shlibdeps wants a debian/control.
  mkdir -p "$stage.deb/debian"
  printf 'Source: pt-tracker\n\nPackage: pt-tracker\nArchitecture: amd64\n' >"$stage.deb/debian/control"
  depends=$(cd "$stage.deb" && dpkg-shlibdeps -O -e"$stage/usr/bin/tracker" -e"$stage/usr/bin/traffic-consumer" 2>/dev/null |
    sed -n 's/^shlibs:Depends=//p')
  rm -rf "$stage.deb"
  [ -n "$depends" ] || { echo "release: dpkg-shlibdeps found no dependencies" >&2; exit 70; }
  sed -e "s/@VERSION@/$version/" -e "s/@DEPENDS@/$depends/" -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$stage" | cut -f1)/" \
    dist/deb/control >"$stage/DEBIAN/control"
  dpkg-deb --root-owner-group -Zxz --build "$stage" "$OUT/pt-tracker_${version}_amd64.deb" >/dev/null
  checksums "pt-tracker_${version}_amd64.deb"
}

check_key
case $what in
  binaries) binaries ;;
  package) package ;;
  all) binaries && package ;;
  checksums) checksums "${@:2}" ;;
  *) echo "usage: dist/release.sh [binaries|package|all|checksums FILE...]" >&2; exit 64 ;;
esac
ls -l "$OUT"
