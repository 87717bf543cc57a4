# Sourced by tests/run and tests/long: what the tests need and this machine may lack, or a clear word on what is missing.

export DEBIAN_FRONTEND=noninteractive
PATH="$PATH:/usr/sbin:$HOME/.cargo/bin"

missing=()
command -v cargo >/dev/null || { echo "cargo is missing: install a Rust toolchain (1.95 or later) with rustfmt and clippy" >&2; exit 1; }
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need cc gcc
need curl curl
need mosquitto mosquitto
need mosquitto_pub mosquitto-clients
need systemd-analyze systemd
/usr/bin/python3 -c 'import seccomp' 2>/dev/null || missing+=(python3 python3-seccomp)
need mbpoll mbpoll
need socat socat
need chromium chromium
fc-list 2>/dev/null | grep -ci cjk >/dev/null || missing+=(fontconfig fonts-noto-cjk)
need pkg-config pkg-config
need python3 python3
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
pkg-config --exists libmodbus 2>/dev/null || missing+=(libmodbus-dev)
[ -e /usr/include/mosquitto.h ] || missing+=(libmosquitto-dev)
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing+=(libfaketime)
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing: ${missing[*]}"
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "missing and not to be installed here: ${missing[*]}" >&2
        echo "as root: apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
fi

# The Python peers live in an environment of their own. Never the package `osdp` beside libosdp: it has the same import name.
if ! tests/.venv/bin/python -c 'import pymodbus, serial, dlt645, osdp, uhppoted, playwright, axe_playwright_python, jsonschema, schemathesis' 2>/dev/null; then
    echo "installing the Python peers into tests/.venv"
    python3 -m venv tests/.venv
    tests/.venv/bin/pip install --quiet --disable-pip-version-check \
        'pymodbus[serial]==3.16.1' dlt645==3.2.0 libosdp==3.2.9 uhppoted==0.9.1.1 \
        playwright==1.65.2 axe-playwright-python==0.1.8 jsonschema==4.26.0 schemathesis==4.32.5
fi

if ! cargo deny --version >/dev/null 2>&1; then
    echo "installing cargo-deny"
    cargo install --quiet --locked cargo-deny
fi
