#!/usr/bin/env bash
# Builds the files of a release for this machine's kind of processor, into target/packages: a tarball, two Debian
# packages, a Python wheel, a list of all components (CycloneDX), and SHA256SUMS. docs/users/INSTALL.md says how
# each is installed.
#
# Usage: shared/packages/release.sh [options of cargo build, such as --features site-agent/cuda]
#
# Needs what the build needs, and dpkg-deb, Python 3.11 with venv, and a registry of Python packages. The same commit
# and toolchain give the same files.
set -euo pipefail
cd "$(dirname "$0")/../.."
# What is installed is for every user to read.
umask 022

root=$PWD
out=$root/target/packages
stage=$out/stage
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
machine=$(uname -m)
commit=$(git rev-parse --short=12 HEAD)
git diff --quiet HEAD || commit="$commit and changes"

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

step "build"
LACUNA_COMMIT=$commit cargo build --release --locked "$@"

# Not before the build: C libraries would be compiled again for it.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

step "stage"
rm -rf "$out"
mkdir -p "$stage/bin" "$stage/lib/systemd/system" "$stage/share/doc/lacuna/configs" "$stage/share/man/man1" \
  "$stage/share/bash-completion/completions" "$stage/share/zsh/vendor-completions" "$stage/share/fish/vendor_completions.d"
for program in coordinator site-agent; do
  installed=$stage/bin/lacuna-$program
  install -m 755 "target/release/$program" "$installed"
  "$installed" man "$stage/share/man/man1"
  "$installed" completions bash >"$stage/share/bash-completion/completions/lacuna-$program"
  "$installed" completions zsh >"$stage/share/zsh/vendor-completions/_lacuna-$program"
  "$installed" completions fish >"$stage/share/fish/vendor_completions.d/lacuna-$program.fish"
done
install -m 644 shared/packages/systemd/*.service "$stage/lib/systemd/system"
install -m 644 README.md CHANGELOG.md CITATION.cff LICENSE-APACHE LICENSE-MIT "$stage/share/doc/lacuna"
install -m 644 configs/*.toml "$stage/share/doc/lacuna/configs"
python3 shared/packages/components.py licences "$@" >"$stage/share/doc/lacuna/LICENCES-OF-LIBRARIES.txt"
python3 shared/packages/components.py sbom "$@" >"$out/lacuna-$version-$machine-linux.cdx.json"

step "tarball"
name=lacuna-$version-$machine-linux
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --transform "s,^\.,$name," \
  -C "$stage" -cf - . | gzip -9n >"$out/$name.tar.gz"

step "Debian packages"
# The newest symbol that a program refers to decides which glibc it needs.
glibc=$(grep -aoh 'GLIBC_[0-9]*\.[0-9]*' "$stage"/bin/* | sed 's/GLIBC_//' | sort -V | tail -n 1)
for program in coordinator site-agent; do
  package=lacuna-$program
  tree=$out/$package
  mkdir -p "$tree/DEBIAN" "$tree/usr/bin" "$tree/usr/lib/systemd/system" "$tree/usr/share/doc/$package/examples" \
    "$tree/usr/share/man/man1" "$tree/usr/share/bash-completion/completions" "$tree/usr/share/zsh/vendor-completions" \
    "$tree/usr/share/fish/vendor_completions.d"
  cp "$stage/bin/$package" "$tree/usr/bin"
  cp "$stage/lib/systemd/system/$package.service" "$tree/usr/lib/systemd/system"
  cp "$stage/share/man/man1/$package"*.1 "$tree/usr/share/man/man1"
  gzip -9n "$tree/usr/share/man/man1"/*
  cp "$stage/share/bash-completion/completions/$package" "$tree/usr/share/bash-completion/completions"
  cp "$stage/share/zsh/vendor-completions/_$package" "$tree/usr/share/zsh/vendor-completions"
  cp "$stage/share/fish/vendor_completions.d/$package.fish" "$tree/usr/share/fish/vendor_completions.d"
  cat LICENSE-MIT LICENSE-APACHE "$stage/share/doc/lacuna/LICENCES-OF-LIBRARIES.txt" >"$tree/usr/share/doc/$package/copyright"
  gzip -9nc CHANGELOG.md >"$tree/usr/share/doc/$package/changelog.gz"
  case $program in
  coordinator)
    mkdir "$tree/etc" "$tree/etc/lacuna"
    cp configs/coordinator.toml configs/demo.toml "$tree/usr/share/doc/$package/examples"
    about="serves a federation of hospitals and averages their models"
    together="Recommends: lacuna-site-agent"
    ;;
  site-agent)
    cp configs/site-train.toml configs/site-evaluate.toml configs/sequences.toml "$tree/usr/share/doc/$package/examples"
    about="a hospital's part in a federation, and prediction"
    together="Suggests: dcm2niix, lacuna-coordinator"
    ;;
  esac
  cat >"$tree/DEBIAN/control" <<END
Package: $package
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: The Lacuna contributors <contributors@lacuna.invalid>
Section: science
Priority: optional
Installed-Size: $(du -sk "$tree/usr" | cut -f 1)
Depends: adduser, libc6 (>= $glibc), libgcc-s1
$together
Description: Lacuna: $about
 Lacuna trains one model for brain metastases on MRI across several hospitals,
 some of which lack a sequence. Images stay in their hospital. This is research
 software and not a medical device.
END
  cat >"$tree/DEBIAN/postinst" <<END
#!/bin/sh
set -e
if [ "\$1" = configure ]; then
  adduser --quiet --system --group --no-create-home --home /var/lib/$package $package
  if [ ! -d /var/lib/$package ]; then install -d -m 0700 -o $package -g $package /var/lib/$package; fi
  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
fi
END
  cat >"$tree/DEBIAN/prerm" <<END
#!/bin/sh
set -e
if [ "\$1" = remove ] && [ -d /run/systemd/system ]; then systemctl disable --now $package.service; fi
END
  cat >"$tree/DEBIAN/postrm" <<END
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
END
  chmod 755 "$tree"/DEBIAN/p*
  (cd "$tree" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
  dpkg-deb --root-owner-group --build "$tree" "$out/${package}_${version}_$(dpkg --print-architecture).deb"
  rm -r "$tree"
done

step "Python wheel"
python3 -m venv "$out/venv"
mkdir "$out/wheel"
cp target/release/coordinator target/release/site-agent LICENSE-* "$stage/share/doc/lacuna/LICENCES-OF-LIBRARIES.txt" "$out/wheel"
LACUNA_WHEEL_PROGRAMS=$out/wheel "$out/venv/bin/pip" wheel --quiet --no-deps --wheel-dir "$out" shared/python
rm -r "$out/wheel"

step "check"
# What a person would do first: the programs say their commit, and pip brings a federation with it.
"$stage/bin/lacuna-coordinator" --version
"$stage/bin/lacuna-site-agent" --version | grep -F "commit: $commit"
"$out/venv/bin/pip" install --quiet "$out"/lacuna_fl-*.whl
"$out/venv/bin/lacuna-coordinator" --version | grep -F "commit: $commit"
(cd "$out/venv" && env -u LACUNA_BIN bin/python -c \
  "import lacuna_fl; print(lacuna_fl.simulate('$root/configs/demo-smoke.toml', 'run').wait().sites()[['role', 'dice']])")
for service in "$stage"/lib/systemd/system/*; do
  # It looks whether the program is there: in the stage, not where the package puts it.
  sed -i "s,=/usr/bin/,=$stage/bin/," "$service"
  if command -v systemd-analyze >/dev/null; then systemd-analyze verify --man=no "$service"; fi
done
rm -r "$out/venv" "$stage"

step "checksums"
cd "$out"
sha256sum -- * >SHA256SUMS
cat SHA256SUMS
