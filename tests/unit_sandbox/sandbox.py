#!/usr/bin/python3
"""Runs a program as systemd would inside systemd/gatehouse.service, on a machine whose PID 1 is not systemd.

    sandbox.py --unit FILE --state DIR --config DIR --binary FILE --scratch DIR -- PROGRAM...

Every key of the unit is either applied here with what the kernel offers, or named below with the reason why not; a key that
is in neither list is an error, and so is a machine that refuses what is to be applied. Needs root, the Debian packages
python3-seccomp and systemd (for the names of its groups of system calls), and /usr/bin/python3, which the first is for.
"""
import argparse, ctypes, fnmatch, glob, grp, os, pwd, re, resource, shutil, stat, subprocess, sys

import seccomp

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUTS, NEWUSER = 0x20000, 0x4000000, 0x10000000
NEW_ANY = {"cgroup": 0x2000000, "ipc": 0x8000000, "net": 0x40000000, "mnt": NEWNS, "pid": 0x20000000, "user": NEWUSER, "uts": NEWUTS}
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, SLAVE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 19
EPERM = seccomp.ERRNO(1)

NOT_APPLIED = {
    "Description": "a word", "After": "an order of starts", "StartLimitIntervalSec": "systemd's own work: it starts again",
    "Restart": "likewise", "RestartSec": "likewise", "RestartPreventExitStatus": "likewise", "WantedBy": "an order of starts",
    "NotifyAccess": "systemd's own work: whose messages it takes", "TimeoutStopSec": "likewise: how long it waits",
    "TimeoutStartSec": "likewise", "RemoveIPC": "done after the end; the system calls for it are not allowed anyway",
    "MemoryHigh": "a cgroup of version 2, which a container often lacks; tests/memory.rs holds the daemon far below",
    "MemoryMax": "likewise", "IPAddressDeny": "a BPF program on a cgroup; the lists are judged in day.py",
    "IPAddressAllow": "likewise", "StateDirectoryMode": "applied with StateDirectory",
    "ConfigurationDirectoryMode": "systemd's own work: it makes the directory", "ExecReload": "day.py runs it in here",
    "Type": "day.py takes the messages", "SystemCallErrorNumber": "applied with SystemCallFilter",
    "ProtectProc": "applied with ProcSubset", "Group": "applied with User", "ExecStart": "day.py runs it in here",
}


class Refused(Exception):
    pass


def parse(path):
    """Key → the list of its values; an empty value forgets those before it."""
    unit = {}
    for line in open(path):
        line = line.strip()
        if not line or line[0] in "#;[":
            continue
        key, value = line.split("=", 1)
        unit.setdefault(key, [])
        unit[key] = unit[key] + [value] if value else [""]
    return unit


def call(what, result):
    if result != 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind=None, flags=0, data=None):
    text = lambda t: t.encode() if t else None
    call(f"mounting {source} on {target}", LIBC.mount(text(source), text(target), text(kind), ctypes.c_ulong(flags), text(data)))


def bind(source, target, read_only=False):
    mount(source, target, flags=BIND)
    if read_only:
        mount(None, target, flags=BIND | REMOUNT | RDONLY | NOSUID)


def prctl(what, *args):
    numbers = [ctypes.c_ulong(a) for a in args] + [ctypes.c_ulong(0)] * (5 - len(args))
    call(what, min(0, LIBC.prctl(*numbers)))


def read_only_below(top, but=()):
    """All mounts at `top` and below it, except those at and below `but`."""
    inside = lambda path, of: path == of or path.startswith(of.rstrip("/") + "/")
    for line in reversed(open("/proc/self/mountinfo").read().splitlines()):
        fields = line.split()
        point, options = fields[4].encode().decode("unicode_escape"), fields[5].split(",")
        if not inside(point, top) or any(inside(point, b) for b in but):
            continue
        flags = sum({"nosuid": NOSUID, "nodev": NODEV, "noexec": NOEXEC, "relatime": 1 << 21, "noatime": 1024}.get(o, 0) for o in options)
        try:
            mount(None, point, flags=BIND | REMOUNT | RDONLY | flags)
        except Refused:
            if os.path.lexists(point) and os.statvfs(point).f_flag & os.ST_RDONLY == 0:
                raise


class Sandbox:
    def __init__(self, unit, args):
        self.unit, self.args = unit, args
        self.one = lambda key: unit[key][-1]
        self.filters, self.environment = [], {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        self.extra = args.scratch
        self.capabilities = int(open("/proc/sys/kernel/cap_last_cap").read()) + 1

    # --- who it is ---

    def people(self):
        """The unit's user, whom sysusers.d would have made, in an /etc/passwd and /etc/group of the sandbox."""
        name = self.one("User")
        try:
            known = pwd.getpwnam(name)
            self.uid, self.gid, lines = known.pw_uid, known.pw_gid, ("", "")
        except KeyError:
            self.uid = self.gid = 64017
            lines = (f"{name}:x:{self.uid}:{self.gid}::/var/lib/gatehouse:/usr/sbin/nologin\n", f"{name}:x:{self.gid}:\n")
        self.groups = [self.gid] + [grp.getgrnam(g).gr_gid for g in " ".join(self.unit.get("SupplementaryGroups", [])).split()]
        etc = os.path.join(self.extra, "etc")
        os.makedirs(os.path.join(etc, "gatehouse"))
        for file, line in zip(("passwd", "group"), lines):
            with open(os.path.join(etc, file), "w") as out:
                out.write(open(f"/etc/{file}").read() + line)

    # --- what it sees of the machine ---

    def files(self):
        one, extra = self.one, self.extra
        LIBC.unshare.argtypes = [ctypes.c_int]
        call("a mount namespace", LIBC.unshare(NEWNS | (NEWUTS if one("ProtectHostname") == "yes" else 0)))
        mount(None, "/", flags=REC | SLAVE)
        # Points to mount on, without leaving any behind on the machine. In `anyone` the modes of files allow everything.
        for where, names in {"/etc": [], "/usr/bin": [], "/var/lib": ["gatehouse", "anyone"]}.items():
            over = os.path.join(extra, where.strip("/"))
            for name in names:
                os.makedirs(os.path.join(over, name))
            os.makedirs(over, exist_ok=True)
            if where == "/usr/bin":
                shutil.copy(self.args.binary, os.path.join(over, "gatehouse"))
            for root, _, _ in os.walk(over):
                os.chmod(root, 0o777 if root.endswith("anyone") else 0o755)
            mount("overlay", where, "overlay", data=f"lowerdir={over}:{where}")
        bind(self.args.config, "/etc/gatehouse")
        bind(self.args.state, "/var/lib/gatehouse")
        os.chown("/var/lib/gatehouse", self.uid, self.gid)
        os.chmod("/var/lib/gatehouse", int(one("StateDirectoryMode"), 8))
        self.devices()
        self.proc()
        if one("ProtectSystem") == "strict":
            read_only_below("/", but=["/dev", "/proc", "/sys", "/var/lib/gatehouse"])
        if one("ProtectHome") == "yes":
            for path in ("/home", "/root", "/run/user"):
                self.hide(path)
        if one("ProtectKernelModules") == "yes":
            self.hide("/usr/lib/modules")
        if one("ProtectKernelTunables") == "yes":
            read_only_below("/sys", but=["/sys/fs/cgroup"])
        if one("ProtectControlGroups") == "yes":
            read_only_below("/sys/fs/cgroup")
        if one("PrivateTmp") == "yes":
            for path in ("/tmp", "/var/tmp"):
                mount("tmpfs", path, "tmpfs", NOSUID | NODEV, "mode=1777")

    def hide(self, path):
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", RDONLY | NOSUID | NODEV | NOEXEC, "mode=000")

    def devices(self):
        """DevicePolicy is a BPF program on a cgroup; a /dev that has what is allowed, and no right to make more, is as much."""
        if self.one("DevicePolicy") != "closed":
            raise Refused("DevicePolicy: only `closed` is known here")
        allowed = [v.split()[0] for v in self.unit["DeviceAllow"]]
        names = [re.compile(fnmatch.translate(a[5:])) for a in allowed if a.startswith("char-")]
        ports = [p for p in glob.glob("/dev/tty?*") if any(n.match(os.path.basename(p)) for n in names)]
        staged = os.path.join(self.extra, "dev")
        os.makedirs(staged)
        mount("tmpfs", staged, "tmpfs", NOSUID, "mode=755")
        for path in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", *ports]:
            if stat.S_ISCHR(os.lstat(path).st_mode):
                there = os.path.join(staged, os.path.basename(path))
                os.mknod(there, os.lstat(path).st_mode, os.lstat(path).st_rdev)
                os.chmod(there, stat.S_IMODE(os.lstat(path).st_mode))
                os.chown(there, os.lstat(path).st_uid, os.lstat(path).st_gid)
        os.makedirs(os.path.join(staged, "pts"))
        mount("/dev/pts", os.path.join(staged, "pts"), flags=BIND)
        mount(staged, "/dev", flags=BIND | REC)

    def proc(self):
        which = {"invisible": "hidepid=invisible"}[self.one("ProtectProc")] + ("," + {"pid": "subset=pid"}[self.one("ProcSubset")])
        mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC, which)

    # --- what it may ask of the kernel ---

    def calls(self):
        """Allowed names, as systemd reads its lines one after the other."""
        allowed = set(self.group("@default")) | {"execve", "exit", "exit_group", "rt_sigreturn", "sigreturn", "getrlimit"}
        for line in self.unit["SystemCallFilter"]:
            names = {n for word in line.lstrip("~").split() for n in (self.group(word) if word.startswith("@") else [word])}
            allowed = allowed - names if line.startswith("~") else allowed | names
        return allowed

    groups_known = {}

    def group(self, name):
        if name not in Sandbox.groups_known:
            said = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
            words = [w for line in said.splitlines()[1:] if not line.strip().startswith("#") for w in line.split()]
            Sandbox.groups_known[name] = [n for w in words for n in (self.group(w) if w.startswith("@") else [w])]
        return Sandbox.groups_known[name]

    def filter(self, of, rules):
        """One filter of its own that lets everything pass but `rules`."""
        made = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
        for name, *arguments in rules:
            made.add_rule(EPERM, name, *arguments)
        self.filters.append((of, made))

    def kernel(self):
        arg, eq, ne, masked = seccomp.Arg, seccomp.EQ, seccomp.NE, seccomp.MASKED_EQ
        one = self.one
        if one("SystemCallArchitectures") != "native":
            raise Refused("SystemCallArchitectures: only `native`, which is what a filter keeps to by itself")
        if one("ProtectHostname") == "yes":
            self.filter("ProtectHostname", [("sethostname",), ("setdomainname",)])
        if one("ProtectKernelModules") == "yes":
            self.filter("ProtectKernelModules", [("init_module",), ("finit_module",), ("delete_module",)])
        if one("ProtectKernelLogs") == "yes":
            self.filter("ProtectKernelLogs", [("syslog",)])
        if one("ProtectClock") == "yes":
            self.filter("ProtectClock", [("adjtimex",), ("clock_adjtime",), ("clock_settime",), ("settimeofday",)])
        if one("LockPersonality") == "yes":
            self.filter("LockPersonality", [("personality", arg(0, ne, 0))])
        if one("RestrictRealtime") == "yes":
            # SCHED_OTHER, BATCH and IDLE may be.
            self.filter("RestrictRealtime", [("sched_setscheduler", arg(1, eq, n)) for n in (1, 2, 6)])
        if one("MemoryDenyWriteExecute") == "yes":
            self.filter("MemoryDenyWriteExecute", [
                ("mmap", arg(2, masked, 6, 6)), ("mprotect", arg(2, masked, 4, 4)), ("pkey_mprotect", arg(2, masked, 4, 4)),
                ("shmat", arg(2, masked, 0o100000, 0o100000))])
        if one("RestrictSUIDSGID") == "yes":
            at = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "mknod": 1, "mknodat": 2, "mkdir": 1, "mkdirat": 2, "creat": 1}
            self.filter("RestrictSUIDSGID", [(n, arg(a, masked, bit, bit)) for n, a in at.items() for bit in (stat.S_ISUID, stat.S_ISGID)]
                        + [("open", arg(1, masked, os.O_CREAT, os.O_CREAT), arg(2, masked, bit, bit)) for bit in (stat.S_ISUID, stat.S_ISGID)]
                        + [("openat", arg(2, masked, os.O_CREAT, os.O_CREAT), arg(3, masked, bit, bit)) for bit in (stat.S_ISUID, stat.S_ISGID)])
        if one("RestrictNamespaces") == "yes":
            self.filter("RestrictNamespaces", [("unshare", arg(0, masked, bit, bit)) for bit in NEW_ANY.values()]
                        + [("clone", arg(0, masked, bit, bit)) for bit in NEW_ANY.values()] + [("setns",)])
            # Its flags lie in memory, where a filter cannot see them: with ENOSYS the C library takes clone.
            no_clone3 = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
            no_clone3.add_rule(seccomp.ERRNO(38), "clone3")
            self.filters.append(("RestrictNamespaces, clone3", no_clone3))
        families = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
        told = [families[f] for f in self.one("RestrictAddressFamilies").split()]
        no_socket = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
        for n in range(0, 64):
            if n not in told:
                no_socket.add_rule(seccomp.ERRNO(97), "socket", arg(0, eq, n))
        no_socket.add_rule(seccomp.ERRNO(97), "socket", arg(0, seccomp.GE, 64))
        self.filters.append(("RestrictAddressFamilies", no_socket))
        if self.one("SystemCallErrorNumber") != "EPERM":
            raise Refused("SystemCallErrorNumber: only EPERM")
        allow = seccomp.SyscallFilter(defaction=EPERM)
        for name in sorted(self.calls()):
            try:
                allow.add_rule(seccomp.ALLOW, name)
            except (RuntimeError, OSError, ValueError):
                pass  # of another architecture, or newer than this libseccomp
        self.filters.append(("SystemCallFilter", allow))

    # --- the way in ---

    def limits(self):
        one = self.one
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(one("LimitNOFILE")),) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (int(one("LimitCORE")),) * 2)
        # A cgroup's word in truth; the kernel's count of a user's threads is as good for a user of its own.
        resource.setrlimit(resource.RLIMIT_NPROC, (int(one("TasksMax")),) * 2)
        open("/proc/self/oom_score_adj", "w").write(one("OOMScoreAdjust"))
        os.umask(int(one("UMask"), 8))
        if one("KeyringMode") == "private":
            if LIBC.syscall(ctypes.c_long(250), ctypes.c_long(1), None) < 0:  # keyctl(KEYCTL_JOIN_SESSION_KEYRING), x86-64
                raise Refused("KeyringMode: no keyring of its own")

    def variables(self):
        boot = open("/proc/sys/kernel/random/boot_id").read().strip().replace("-", "")
        for line in self.unit.get("Environment", []):
            name, value = line.split("=", 1)
            self.environment[name] = value.replace("%b", boot)
        seconds = self.unit["WatchdogSec"][-1]
        self.environment.update({"STATE_DIRECTORY": "/var/lib/" + self.one("StateDirectory"), "CONFIGURATION_DIRECTORY": "/etc/" + self.one("ConfigurationDirectory"),
                                 "WATCHDOG_USEC": f"{seconds}000000", "USER": self.one("User"), "HOME": "/var/lib/gatehouse"})
        self.environment.update({k: os.environ[k] for k in ("NOTIFY_SOCKET", "MAINPID", "WATCHDOG_USEC") if k in os.environ})
        self.environment["WATCHDOG_PID"] = str(os.getpid())

    def own_users(self):
        """As systemd does it: root and the unit's user are themselves, all others nobody. Who writes the maps must stay outside."""
        ours, theirs = os.pipe()
        done, tell = os.pipe()
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            os.read(ours, 1)
            for file, own in (("uid_map", self.uid), ("gid_map", self.gid)):
                open(f"/proc/{parent}/{file}", "w").write(f"0 0 1\n{own} {own} 1\n")
            os.write(tell, b"!")
            os._exit(0)
        call("a user namespace", LIBC.unshare(NEWUSER))
        os.write(theirs, b"!")
        os.close(tell)
        if os.read(done, 1) != b"!" or os.waitpid(child, 0)[1] != 0:
            raise Refused("a user namespace: its maps cannot be written")

    def rights(self):
        one = self.one
        if one("CapabilityBoundingSet") or one("AmbientCapabilities"):
            raise Refused("capabilities: only none at all")
        os.setgroups(self.groups)
        if one("PrivateUsers") == "yes":
            self.own_users()
        for capability in range(self.capabilities):
            LIBC.prctl(24, ctypes.c_ulong(capability), 0, 0, 0)  # PR_CAPBSET_DROP
        prctl("ambient capabilities", 47, 4)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        left = next(line for line in open("/proc/self/status") if line.startswith("CapEff"))
        if int(left.split()[1], 16):
            raise Refused(f"capabilities are left: {left}")
        if one("NoNewPrivileges") == "yes":
            prctl("no new privileges", 38, 1)

    APPLIED = {"User", "SupplementaryGroups", "StateDirectory", "ConfigurationDirectory", "UMask", "Environment", "TasksMax", "LimitNOFILE", "LimitCORE",
               "OOMScoreAdjust", "NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities", "PrivateUsers", "KeyringMode", "ProtectSystem",
               "ProtectHome", "PrivateTmp", "PrivateMounts", "ProcSubset", "DevicePolicy", "DeviceAllow", "ProtectHostname", "ProtectKernelTunables",
               "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectClock", "RestrictNamespaces", "RestrictRealtime",
               "RestrictSUIDSGID", "LockPersonality", "MemoryDenyWriteExecute", "RestrictAddressFamilies", "SystemCallArchitectures", "SystemCallFilter",
               "WatchdogSec"}

    def enter(self, program):
        unknown = set(self.unit) - self.APPLIED - set(NOT_APPLIED)
        if unknown:
            raise Refused(f"keys that this test neither applies nor says why not: {', '.join(sorted(unknown))}")
        self.people()
        self.variables()
        self.kernel()  # asks systemd-analyze, so before anything is shut
        self.limits()
        self.files()
        self.rights()
        for of, made in self.filters:
            try:
                made.load()
            except (RuntimeError, OSError) as e:
                raise Refused(f"{of}: this machine refuses the filter: {e}")
        os.chdir("/")
        os.execve(program[0], program, self.environment)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("unit", "state", "config", "binary", "scratch"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("program", nargs="+")
    args = parser.parse_args()
    try:
        Sandbox(parse(args.unit), args).enter(args.program)
    except (Refused, OSError, KeyError) as e:
        print(f"sandbox.py: this machine cannot show the unit's sandbox: {type(e).__name__}: {e}", file=sys.stderr)
        sys.exit(99)


if __name__ == "__main__":
    main()
