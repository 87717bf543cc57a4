#!/bin/sh
# Puts gatehouse from this directory onto this machine, as root: ./install.sh
# A newer one over an older one is the same command: configuration and data stay, a running service is started anew.
# ./install.sh --remove takes the program and the service away; configuration, data and the user stay.
set -eu
umask 022
cd "$(dirname "$0")"

fail() { echo "install.sh: $*" >&2; exit 1; }
systemd() { [ -d /run/systemd/system ]; }

program=/usr/bin/gatehouse
unit=/etc/systemd/system/gatehouse.service
manual=/usr/local/share/man/man1
bash=/usr/share/bash-completion/completions/gatehouse
zsh=/usr/share/zsh/vendor-completions/_gatehouse
fish=/usr/share/fish/vendor_completions.d/gatehouse.fish

[ "$(id -u)" = 0 ] || fail "as root, please: it writes to /usr and /etc"
if command -v dpkg-query >/dev/null && dpkg-query -W -f '${Status}' gatehouse 2>/dev/null | grep -q ' installed$'; then
    fail "gatehouse is installed as a package here; apt brings newer ones, and takes it away"
fi

if [ "${1:-}" = --remove ]; then
    if systemd; then systemctl disable --now gatehouse.service 2>/dev/null || true; fi
    rm -f "$program" "$unit" "$manual"/gatehouse.1 "$manual"/gatehouse-*.1 "$bash" "$zsh" "$fish" \
        /usr/lib/sysusers.d/gatehouse.conf /usr/lib/tmpfiles.d/gatehouse.conf
    if systemd; then systemctl daemon-reload; fi
    echo "gatehouse is gone; /etc/gatehouse, /var/lib/gatehouse and the user gatehouse are there still"
    exit 0
fi
[ $# = 0 ] || fail "./install.sh, or ./install.sh --remove"

./gatehouse --version >/dev/null 2>&1 || fail "this gatehouse is for another processor than $(uname -m)"

install -D -m 0644 gatehouse.sysusers /usr/lib/sysusers.d/gatehouse.conf
install -D -m 0644 gatehouse.tmpfiles /usr/lib/tmpfiles.d/gatehouse.conf
if ! grep -q '^gatehouse:' /etc/passwd; then
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers /usr/lib/sysusers.d/gatehouse.conf
    else
        useradd --system --user-group --home-dir /var/lib/gatehouse --no-create-home --shell /usr/sbin/nologin gatehouse
        ! grep -q '^dialout:' /etc/group || usermod --append --groups dialout gatehouse
    fi
fi
for dir in /etc/gatehouse /etc/gatehouse/devices /etc/gatehouse/rules /etc/gatehouse/profiles; do
    install -d -o root -g gatehouse -m 0750 "$dir"
done
install -d -o root -g root -m 0700 /etc/gatehouse/credentials
install -d -o gatehouse -g gatehouse -m 0700 /var/lib/gatehouse
[ -e /etc/gatehouse/gatehouse.toml ] || install -m 0644 gatehouse.toml /etc/gatehouse/gatehouse.toml

# Under another name first: what runs cannot be written over, and a power cut leaves the old one or the new one.
install -m 0755 gatehouse "$program.new"
mv -f "$program.new" "$program"
install -D -m 0644 gatehouse.service "$unit"
install -d "$manual"
install -m 0644 man/*.1 "$manual/"
install -D -m 0644 gatehouse.bash "$bash"
install -D -m 0644 _gatehouse "$zsh"
install -D -m 0644 gatehouse.fish "$fish"

if systemd; then
    systemctl daemon-reload
    systemctl try-restart gatehouse.service
fi
echo "gatehouse $("$program" --version | cut -d' ' -f2) is installed; next, if it is the first time:"
echo "  gatehouse init; gatehouse check; systemctl enable --now gatehouse"
