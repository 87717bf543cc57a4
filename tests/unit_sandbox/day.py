#!/usr/bin/python3
"""A day of the daemon inside the unit's sandbox (sandbox.py), and what the sandbox keeps from it.

    day.py BINARY

Ends with 0 where all holds; otherwise it says what does not. Peers: pymodbus over TCP and on a pseudo-terminal of the
group dialout, mosquitto, a centre, all outside of the sandbox.
"""
import contextlib, ctypes, grp, http.server, ipaddress, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time, urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
try:
    import sandbox
except ImportError:
    sys.exit("day.py: the Debian package python3-seccomp is missing")

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNIT = os.path.join(TESTS, "..", "systemd", "gatehouse.service")
PEERS = os.path.join(TESTS, ".venv", "bin", "python")
PATIENCE = 40

PROBE = r'''
import ctypes, mmap, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def refused(what, try_it, *errors):
    try:
        try_it()
    except OSError as e:
        if e.errno in errors: return
        print(f"{what}: refused, but with {e}"); return
    print(f"{what}: allowed")
def call(*numbers):
    libc.syscall.restype = ctypes.c_long
    if libc.syscall(*[n if isinstance(n, (bytes, ctypes.Array)) else ctypes.c_long(n) for n in numbers]) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
EPERM, ENOENT, EACCES, EROFS, EAFNOSUPPORT = 1, 2, 13, 30, 97
refused("writing /etc", lambda: open("/etc/gatehouse/x", "w"), EROFS)
refused("writing where the modes of files allow it", lambda: open("/var/lib/anyone/x", "w"), EROFS)
refused("reading /home", lambda: os.listdir("/home"), EACCES)
refused("reading /root", lambda: os.listdir("/root"), EACCES)
refused("reading the memory of the machine", lambda: open("/dev/mem"), ENOENT)
refused("reading the kernel's log", lambda: call(103, 3, 0, 0), EPERM)
refused("making a device", lambda: os.mknod("/var/lib/gatehouse/mem", 0o020600, os.makedev(1, 1)), EPERM)
refused("a program that runs as its owner", lambda: os.open("/var/lib/gatehouse/s", os.O_CREAT | os.O_WRONLY, 0o4755), EPERM)
refused("a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1), EPERM)
refused("a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW), EAFNOSUPPORT)
refused("a netlink socket", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), EAFNOSUPPORT)
refused("mounting", lambda: call(165, b"tmpfs", b"/tmp", b"tmpfs", 0, 0), EPERM)
refused("a namespace", lambda: call(272, 0x10000000), EPERM)
refused("tracing", lambda: call(101, 16, os.getppid(), 0, 0), EPERM)
refused("reading another's memory", lambda: call(310, os.getppid(), 0, 0, 0, 0, 0), EPERM)
refused("setting the clock", lambda: call(227, 0, bytes(16)), EPERM)
refused("adjusting the clock", lambda: call(159, ctypes.create_string_buffer((0x4001).to_bytes(4, "little"), 256)), EPERM)
refused("a kernel module", lambda: call(175, b"", 0, b""), EPERM)
refused("memory that can be written and run", lambda: mmap.mmap(-1, 4096, prot=7), EPERM)
refused("another personality", lambda: call(135, 0x0400000), EPERM)
refused("real-time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)), EPERM)
refused("a name for the machine", lambda: call(170, b"x", 1), EPERM)
refused("becoming root", lambda: os.setuid(0), EPERM)
refused("giving a file away", lambda: os.chown("/var/lib/gatehouse", 0, 0), EPERM)
refused("locking memory", lambda: call(149, 0, 4096), EPERM)
refused("an old key ring", lambda: call(250, 0, -3, 0), EPERM)
refused("bpf", lambda: call(321, 0, 0, 0), EPERM)
refused("io_uring", lambda: call(425, 1, 0), EPERM)
refused("signals to init", lambda: os.kill(1, 0), EPERM)
if any(name == "1" for name in os.listdir("/proc")): print("processes of others are seen")
# What it must be able to do.
call(159, ctypes.create_string_buffer(256))
open("/var/lib/gatehouse/probe", "w").write("x")
if os.stat("/var/lib/gatehouse/probe").st_mode & 0o077: print("what it writes can be read by others")
os.remove("/var/lib/gatehouse/probe")
open("/tmp/probe", "w").write("x")
print("probed")
'''


def fail(what):
    raise AssertionError(what)


def until(what, ready):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, KeyError):
            found = ready()
            if found:
                return found
        time.sleep(0.05)
    fail(f"{what}: not within {PATIENCE} s")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Centre(http.server.BaseHTTPRequestHandler):
    told = []

    def do_POST(self):
        Centre.told += json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Day:
    def __init__(self, binary, directory, stack):
        self.binary, self.directory, self.stack = binary, directory, stack
        for name in ("state", "config"):
            os.mkdir(os.path.join(directory, name), 0o755)
        self.api, self.n = free_port(), 0
        # Where systemd has its own: /tmp is private.
        self.notify = f"/run/gatehouse-day-{os.getpid()}"
        stack.callback(lambda: os.path.exists(self.notify) and os.remove(self.notify))

    def inside(self, *program, **more):
        """Starts a program in the sandbox of the unit."""
        self.n += 1
        scratch = os.path.join(self.directory, f"scratch-{self.n}")
        os.mkdir(scratch, 0o755)
        where = lambda name: os.path.join(self.directory, name)
        environment = {**os.environ, "NOTIFY_SOCKET": self.notify, **more.pop("environment", {})}
        return subprocess.Popen([os.path.join(TESTS, "unit_sandbox", "sandbox.py"), "--unit", UNIT, "--state", where("state"), "--config", where("config"),
                                 "--binary", self.binary, "--scratch", scratch, "--", *program], env=environment, **more)

    def beside(self, *program):
        child = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.stack.callback(lambda: (child.kill(), child.wait()))
        return child

    def peers(self):
        self.modbus, self.mqtt = free_port(), free_port()
        server = os.path.join(TESTS, "peers", "modbus_server.py")
        near, far = (os.path.join(self.directory, end) for end in ("near", "far"))
        self.beside("socat", f"pty,raw,echo=0,link={far}", f"pty,raw,echo=0,link={near},group=dialout,mode=660")
        self.beside(PEERS, server, "tcp", str(self.modbus), "1")
        until("a serial line", lambda: os.path.exists(near) and os.path.exists(far))
        self.line = os.path.realpath(near)
        if os.stat(self.line).st_gid != grp.getgrnam("dialout").gr_gid:
            fail("the serial line is not of the group dialout")
        self.beside(PEERS, server, "rtu", far, "2")
        conf = os.path.join(self.directory, "mosquitto.conf")
        open(conf, "w").write(f"listener {self.mqtt} 127.0.0.1\nallow_anonymous true\n")
        self.beside("mosquitto", "-c", conf)
        for port in (self.modbus, self.mqtt):
            until("a peer", lambda: socket.create_connection(("127.0.0.1", port)).close() is None)
        centre = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Centre)
        centre.daemon_threads = True
        threading.Thread(target=centre.serve_forever, daemon=True).start()
        self.centre = centre.server_address[1]

    def configure(self, above):
        point = '[[device.point]]\nid = "level"\ntable = "holding"\nregister = 0\ntype = "u16"\n'
        open(os.path.join(self.directory, "config", "gatehouse.toml"), "w").write(f"""
[gateway]
id = "gw-unit"
locale = "en"
[api]
listen = "127.0.0.1:{self.api}"
[[sync]]
name = "crm"
url = "http://localhost:{self.centre}/events"
[[channel]]
id = "plant"
type = "modbus-tcp"
address = "localhost:{self.modbus}"
[[channel]]
id = "cellar"
type = "modbus-rtu"
port = "{self.line}"
baud = 19200
parity = "none"
[[channel]]
id = "broker"
type = "mqtt"
url = "mqtt://localhost:{self.mqtt}"
[[device]]
id = "over-tcp"
channel = "plant"
unit = 1
poll = "200ms"
{point}
[[device]]
id = "over-line"
channel = "cellar"
unit = 2
poll = "200ms"
{point}
[[device]]
id = "over-mqtt"
channel = "broker"
topic = "tank"
[[device.point]]
id = "level"
json = "/level"
[[rule]]
id = "high"
point = "*.level"
above = {above}
""")

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.api}{path}", timeout=5) as answer:
            return json.load(answer)

    def told(self, kind):
        return [e["data"] for e in Centre.told if e["type"] == f"gatehouse.{kind}"]

    def log(self):
        return open(os.path.join(self.directory, "log")).read()


def holds(day):
    day.peers()
    day.configure(above=100)
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(day.notify)
    os.chmod(day.notify, 0o777)
    heard = []

    def hear():
        while True:
            heard.append(told.recv(4096).decode())

    threading.Thread(target=hear, daemon=True).start()
    unit = sandbox.parse(UNIT)
    daemon = day.inside(*unit["ExecStart"][-1].split(), stderr=open(os.path.join(day.directory, "log"), "w"), environment={"WATCHDOG_USEC": "2000000"})
    day.stack.callback(lambda: (daemon.kill(), daemon.wait()))

    def ready():
        if daemon.poll() is not None:
            fail(f"the daemon ended with {daemon.returncode}")
        return any("READY=1" in h for h in heard)

    until("READY", ready)
    until("WATCHDOG", lambda: any("WATCHDOG=1" in h for h in heard))

    def mqtt():
        subprocess.run(["mosquitto_pub", "-p", str(day.mqtt), "-t", "tank", "-m", '{"level": 500}'], check=True)
        return {"over-tcp", "over-line", "over-mqtt"} <= {t["device"] for t in day.told("ticket.opened")}

    until("a ticket of each wire at the centre", mqtt)
    started = day.told("gateway.started")[0]
    boot = open("/proc/sys/kernel/random/boot_id").read().strip()
    if started["boot"] != boot or not started["uptime"] > 0:
        fail(f"of this boot it knows {started}, which is {boot}")
    status = {k: v for k, v in (line.split(":", 1) for line in open(f"/proc/{daemon.pid}/status"))}
    if int(status["CapBnd"], 16) or status["NoNewPrivs"].strip() != "1" or status["Seccomp"].strip() != "2":
        fail(f"the daemon is not shut in: {status}")
    day.configure(above=101)
    reload = day.inside(*unit["ExecReload"][-1].replace("$MAINPID", str(daemon.pid)).split(), environment={"MAINPID": str(daemon.pid)})
    if reload.wait(PATIENCE) != 0:
        fail("ExecReload fails")
    until("a reload", lambda: any(t.get("reason") for t in day.told("config.changed")) or day.log().count("gatehouse runs") > 1)
    backup = day.inside("/usr/bin/gatehouse", "backup", "--to", "/var/lib/gatehouse/copy", stderr=subprocess.PIPE)
    if backup.wait(PATIENCE) != 0 or not os.path.getsize(os.path.join(day.directory, "state", "copy")):
        fail(f"backup: {backup.stderr.read()}")
    probe = day.inside("/usr/bin/python3", "-c", PROBE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = probe.communicate(timeout=PATIENCE)[0]
    if said != "probed\n":
        fail(f"the sandbox has holes:\n{said}")
    os.kill(daemon.pid, signal.SIGTERM)
    if daemon.wait(PATIENCE) != 0:
        fail(f"it ends with {daemon.returncode}")
    if not any("STOPPING=1" in h for h in heard):
        fail("it does not say that it stops")
    for word in ("panicked", "not permitted", "Permission denied", "EPERM"):
        if word in day.log():
            fail(f"`{word}` in its log")
    for root, _, files in os.walk(os.path.join(day.directory, "state")):
        for file in files:
            if os.stat(os.path.join(root, file)).st_mode & 0o077:
                fail(f"{file} can be read by others")
    addresses(unit)


def addresses(unit):
    """What IPAddressAllow lets through: each that may be a device or a centre, and no multicast."""
    allowed = [ipaddress.ip_network(n) for line in unit["IPAddressAllow"] for n in line.split()]
    passes = lambda a: any(ipaddress.ip_address(a) in n for n in allowed)
    if unit["IPAddressDeny"] != ["any"]:
        fail("IPAddressDeny is not `any`")
    for a in ("127.0.0.1", "10.0.0.1", "172.16.9.9", "192.168.1.255", "203.0.113.7", "223.255.255.255", "255.255.255.255", "100.64.0.1",
              "::1", "2001:db8::1", "fd00::1", "fe80::1", "64:ff9b::1"):
        if not passes(a):
            fail(f"{a} would be shut out")
    for a in ("224.0.0.251", "239.255.255.250", "ff02::1", "ff05::2"):
        if passes(a):
            fail(f"{a} is let through")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if os.getuid() != 0:
        sys.exit("day.py: the unit's sandbox can only be built by root")
    directory = tempfile.mkdtemp(prefix="gatehouse-day-")
    os.chmod(directory, 0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        day = Day(os.path.abspath(sys.argv[1]), directory, stack)
        try:
            holds(day)
        except AssertionError as e:
            log = day.log() if os.path.exists(os.path.join(directory, "log")) else "it never began"
            print(f"day.py: {e}\n--- its log:\n{log[-4000:]}", file=sys.stderr)
            stack.close()
            os._exit(1)
    print("the daemon works in the unit's sandbox, and the sandbox holds")


if __name__ == "__main__":
    main()
