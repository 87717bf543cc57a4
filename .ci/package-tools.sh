# Sourced by .ci/package and tests/packages: which targets there are, and what building and trying them needs.

export DEBIAN_FRONTEND=noninteractive
PATH="$PATH:/usr/sbin:$HOME/.cargo/bin"

declare -A gnu=([amd64]=x86_64-unknown-linux-gnu [arm64]=aarch64-unknown-linux-gnu [armhf]=armv7-unknown-linux-gnueabihf)
declare -A musl=([amd64]=x86_64-unknown-linux-musl [arm64]=aarch64-unknown-linux-musl [armhf]=armv7-unknown-linux-musleabihf)
# How a program of that target is run here. binfmt may not be mounted, so that the runner is named.
declare -A runner=([amd64]="" [arm64]="qemu-aarch64-static -L /usr/aarch64-linux-gnu" [armhf]="qemu-arm-static -L /usr/arm-linux-gnueabihf")
declare -A static_runner=([amd64]="" [arm64]=qemu-aarch64-static [armhf]=qemu-arm-static)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc

# zig is a C compiler for musl of every target, in one Python package.
zig="${GATEHOUSE_ZIG:-$PWD/target/package/zig}"

# The C compilers and emulators of these architectures, from Debian.
need_packages() { # package…
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "missing; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "installing: ${missing[*]}"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

need_cargo_tool() { # name, version
    if ! cargo "$1" --version 2>/dev/null | grep -qw -- "$2"; then
        echo "installing cargo-$1 $2"
        # The flags of what is packaged are not for the tools.
        env -u CARGO_ENCODED_RUSTFLAGS -u CFLAGS cargo install --quiet --locked "cargo-$1" --version "$2"
    fi
}

need_std() { # triple
    [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ] || rustup --quiet target add "$1" 2>/dev/null
}

# Those whose musl cannot be had here.
no_tarball=()
need_tools() { # arch…
    command -v cargo >/dev/null || { echo "cargo is missing: install a Rust toolchain (1.95 or later)" >&2; exit 1; }
    local arch packages=(gcc libc6-dev python3-venv)
    for arch in "$@"; do
        case "$arch" in
            arm64) packages+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static) ;;
            armhf) packages+=(gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user-static) ;;
        esac
    done
    need_packages "${packages[@]}"
    for arch in "$@"; do
        need_std "${gnu[$arch]}" || { echo "the standard library of ${gnu[$arch]} is missing, and rustup cannot add it" >&2; exit 1; }
        # Not each place that Rust is taken from has all of these; what is not built is said at the end.
        need_std "${musl[$arch]}" || no_tarball+=("$arch")
    done
    need_cargo_tool deb 3.8.0
    need_cargo_tool cyclonedx 0.5.9
    cargo deny --version >/dev/null 2>&1 || need_cargo_tool deny 0.20.2
    if ! "$zig/bin/cargo-zigbuild" --version >/dev/null 2>&1; then
        echo "installing zig into $zig"
        python3 -m venv "$zig"
        "$zig/bin/pip" install --quiet --disable-pip-version-check ziglang==0.17.1 cargo-zigbuild==0.24.0
    fi
}
