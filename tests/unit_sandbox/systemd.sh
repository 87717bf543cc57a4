#!/usr/bin/env bash
# The unit under a systemd of its own: PID 1 of a container over this machine's files, of which nothing is changed. It starts,
# answers, reloads, comes back after a kill, ends, and does not start again and again with a configuration that is wrong.
#
#     tests/unit_sandbox/systemd.sh BINARY
#
# Needs root, and the packages systemd and systemd-container.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "$1")
command -v systemd-nspawn >/dev/null || { echo "systemd.sh: systemd-nspawn is missing; install systemd-container" >&2; exit 1; }

dir=$(mktemp -d)
trap 'umount -q "$dir/m/root" || true; umount -q "$dir/m" || true; rm -rf "$dir"' EXIT
mkdir "$dir/m"
mount -t tmpfs tmpfs "$dir/m"
mkdir "$dir"/m/{up,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/m/up,workdir=$dir/m/work" "$dir/m/root"
root="$dir/m/root"

install -m 0755 "$binary" "$root/usr/bin/gatehouse"
install -m 0644 systemd/gatehouse.service "$root/etc/systemd/system/gatehouse.service"
install -d "$root/etc/systemd/system/gatehouse.service.d"
install -m 0644 systemd/gatehouse.sysusers "$root/usr/lib/sysusers.d/gatehouse.conf"
systemd-sysusers --root="$root" gatehouse.conf 2>/dev/null
install -d -m 0750 "$root/etc/gatehouse"
printf '[gateway]\nid = "gw-unit"\n[api]\nlisten = "127.0.0.1:8080"\n[privacy]\nkey = { credential = "privacy-key" }\n' \
    >"$root/etc/gatehouse/gatehouse.toml"
chroot "$root" chgrp -R gatehouse /etc/gatehouse
install -d -m 0700 "$root/etc/gatehouse/credentials"
(umask 077; echo 0123456789abcdef0123456789abcdef >"$root/etc/gatehouse/credentials/privacy-key")
printf '[Service]\nLoadCredential=privacy-key:/etc/gatehouse/credentials/privacy-key\n' \
    >"$root/etc/systemd/system/gatehouse.service.d/credentials.conf"
rm -f "$root/etc/machine-id"

cat >"$root/usr/bin/look" <<'EOF'
#!/bin/bash
# Inside: each line that is printed as `NAME VALUE` is looked at outside.
show() { systemctl show -p "$1" --value gatehouse; }
for _ in $(seq 50); do [ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/readyz)" = 200 ] && break; sleep 0.2; done
echo "ready $(curl -s http://127.0.0.1:8080/readyz)"
pid=$(show MainPID)
echo "filters $(awk '/Seccomp_filters/ { print $2 }' /proc/$pid/status)"
echo "rights $(awk '/CapBnd|CapEff/ { printf $2 }' /proc/$pid/status)"
echo "users $(grep -c . /proc/$pid/uid_map)"
echo "started $(curl -s 'http://127.0.0.1:8080/api/v1/events?after=0' | tr -d - | grep -c "\"boot\":\"$(tr -d - </proc/sys/kernel/random/boot_id)\"")"
systemctl reload gatehouse && echo "reload $(show ActiveState)"
kill -9 "$pid"
for _ in $(seq 100); do [ "$(show NRestarts)" = 1 ] && [ "$(show ActiveState)" = active ] && break; sleep 0.2; done
echo "killed $(show NRestarts) $(show ActiveState)"
systemctl stop gatehouse; echo "stop $(show Result)"
echo nonsense >/etc/gatehouse/gatehouse.toml; rm -rf /var/lib/gatehouse/*
systemctl start gatehouse 2>/dev/null; sleep 7
echo "wrong $(show ExecMainStatus) $(show NRestarts) $(show ActiveState)"
journalctl -u gatehouse --no-pager
systemctl poweroff -ff
EOF
chmod 0755 "$root/usr/bin/look"
cat >"$root/etc/systemd/system/look.service" <<'EOF'
[Unit]
After=gatehouse.service
Wants=gatehouse.service
[Service]
Type=oneshot
ExecStart=/usr/bin/look
StandardOutput=file:/said
EOF

timeout 120 systemd-nspawn -D "$root" --register=no --keep-unit --private-network -M "gatehouse-$$" --boot -- \
    systemd.unit=look.service >"$dir/console" 2>&1 || true
said="$dir/m/up/said"
wrong=0
want() {
    grep -qE "^$1\$" "$said" 2>/dev/null || { echo "systemd.sh: not so: $1" >&2; wrong=1; }
}
want 'ready .*"ready":true.*'
want 'filters [0-9]{2}'
want 'rights 0{32}'
want 'users 2'
want 'started 1'
want 'reload active'
want 'killed 1 active'
want 'stop success'
want 'wrong 78 0 failed'
if [ "$wrong" = 1 ]; then
    cat "$said" 2>/dev/null || tail -n 30 "$dir/console"
    exit 1
fi
echo "systemd.sh: $(systemd-nspawn --version | head -n 1 | cut -d' ' -f1-2) runs the unit; $(grep '^filters' "$said")"
