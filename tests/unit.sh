#!/usr/bin/env bash
# The systemd unit as systemd itself judges it: no mistakes, and shut in as far as its work lets it.
# Exits 0 where both hold, 1 with what does not, 2 where systemd-analyze is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# 0 is safest, 100 is wide open; in tenths of what `systemd-analyze security` prints.
exposure_most=16

if ! command -v systemd-analyze >/dev/null; then
    echo "unit.sh: systemd-analyze is missing; install the package systemd" >&2
    exit 2
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# The binary is not installed here; any program that exists will do for the check.
unit="$dir/gatehouse.service"
sed 's|^ExecStart=/usr/bin/gatehouse |ExecStart=/bin/true |' systemd/gatehouse.service >"$unit"
if ! grep -q '^ExecStart=/bin/true run$' "$unit"; then
    echo "unit.sh: systemd/gatehouse.service does not start \`/usr/bin/gatehouse run\`" >&2
    exit 1
fi

# What it says counts, too: a key that systemd does not know is only a warning to it.
if ! said=$(systemd-analyze verify --recursive-errors=no "$unit" 2>&1) || [ -n "$said" ]; then
    echo "unit.sh: systemd-analyze verify finds mistakes in systemd/gatehouse.service:" >&2
    echo "$said" >&2
    exit 1
fi
# The drop-in that docs/install.md offers: an earlier systemd than it is for says so of its two keys, and has nothing else to say.
install -D -m 0644 systemd/restart.conf "$unit.d/restart.conf"
said=$(systemd-analyze verify --recursive-errors=no "$unit" 2>&1 || true)
if [ "$(systemctl --version | awk 'NR == 1 { print int($2) }')" -lt 254 ]; then
    said=$(grep -v "Unknown key .*'\(RestartSteps\|RestartMaxDelaySec\)' in section" <<<"$said" || true)
fi
if [ -n "$said" ]; then
    echo "unit.sh: systemd-analyze verify finds mistakes in systemd/restart.conf:" >&2
    echo "$said" >&2
    exit 1
fi
rm -r "$unit.d"
if ! said=$(systemd-analyze security --offline=true --threshold="$exposure_most" "$unit" 2>&1); then
    echo "unit.sh: systemd/gatehouse.service is more open than $exposure_most:" >&2
    echo "$said" >&2
    exit 1
fi
echo "unit.sh: $(tail -n 1 <<<"$said")"
