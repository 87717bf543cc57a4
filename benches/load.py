#!/usr/bin/env python3
"""3,000 points a second over three Modbus TCP endpoints: gatehouse against a plain C poller, in one run.

    benches/load.py [--seconds 30] [--units 300] [--flips 150] [--binary PATH]

Prints CPU (seconds per second of the whole process), peak memory, whether each unit was polled each second, and the time
from an answer's last byte to its ticket being with a puller and at the CRM. The machine is noisy, so the floor runs before and
after gatehouse and the ratio is taken to the mean of both. Needs a C compiler, libmodbus-dev, libmosquitto-dev, mosquitto.
"""
import argparse, http.server, json, os, random, shutil, socket, subprocess, sys, tempfile, threading, time, urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
REGISTERS, UNITS_A_PORT, THRESHOLD = 10, 100, 10000


def free_port(count=1):
    """The first of `count` ports in a row that nobody listens on."""
    while True:
        base = random.randint(20000, 60000 - count)
        socks = []
        try:
            for port in range(base, base + count):
                s = socket.socket()
                socks.append(s)
                s.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for s in socks:
                s.close()


def build(directory):
    flags = subprocess.check_output(["pkg-config", "--cflags", "libmodbus"], text=True).split()
    subprocess.check_call(["cc", "-O2", "-o", f"{directory}/modsim", f"{HERE}/modsim.c", "-lm"])
    subprocess.check_call(["cc", "-O2", *flags, "-o", f"{directory}/cfloor", f"{HERE}/cfloor.c", "-lmodbus", "-lmosquitto", "-lpthread"])


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024


class Control:
    """The load generator's control line."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.file = self.sock.makefile("r")

    def ask(self, line):
        self.sock.sendall(f"{line}\n".encode())
        return json.loads(self.file.readline())


def wait_for(what, ready, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"{what} did not come up within {seconds} s")


def measure(pid, seconds):
    start, t0 = cpu(pid), time.time()
    time.sleep(seconds)
    return (cpu(pid) - start) / (time.time() - t0)


class Crm(http.server.BaseHTTPRequestHandler):
    """Takes pushes; notes when each ticket.opened arrived."""
    protocol_version = "HTTP/1.1"
    arrived = {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        now = time.time()
        for event in json.loads(body):
            if event["type"] == "gatehouse.ticket.opened":
                self.arrived.setdefault(event["data"]["device"], now)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def pull(api, arrived, stop):
    """A puller that long-polls: an event it gets is durable."""
    cursor = "0"
    while not stop.is_set():
        url = f"http://127.0.0.1:{api}/api/v1/events?after={cursor}&wait=5&limit=1000&types=ticket.opened"
        with urllib.request.urlopen(url) as answer:
            page = json.load(answer)
        now = time.time()
        for event in page["events"]:
            arrived.setdefault(event["data"]["device"], now)
        cursor = page["next"]


def configuration(path, base, units, api, crm, data):
    text = [f'[gateway]\nid = "bench"\nname = "bench"\nlocale = "en"\ndata_dir = "{data}"\n[api]\nlisten = "127.0.0.1:{api}"\n'
            f'[[sync]]\nname = "crm"\nurl = "http://127.0.0.1:{crm}/events"\n']
    for port in range((units + UNITS_A_PORT - 1) // UNITS_A_PORT):
        text.append(f'[[channel]]\nid = "line-{port}"\ntype = "modbus-tcp"\naddress = "127.0.0.1:{base + port}"\n')
    for unit in range(units):
        text.append(f'[[device]]\nid = "d{unit}"\nchannel = "line-{unit // UNITS_A_PORT}"\nunit = {unit % UNITS_A_PORT + 1}\nplace = "hall/{unit}"\n')
        for register in range(REGISTERS):
            text.append(f'[[device.point]]\nid = "r{register}"\ntable = "holding"\nregister = {register}\ntype = "u16"\n')
    text.append(f'[[rule]]\nid = "high"\npoint = "*.r{REGISTERS - 1}"\nabove = {THRESHOLD}\nlevel = 1\n')
    open(path, "w").write("\n".join(text))


def percentiles(values):
    values = sorted(values)
    at = lambda share: values[min(len(values) - 1, int(len(values) * share))] * 1000
    return f"p50 {at(.5):6.1f}  p95 {at(.95):6.1f}  p99 {at(.99):6.1f}  max {values[-1] * 1000:6.1f} ms"


def floor(args, directory, base, mqtt):
    process = subprocess.Popen([f"{directory}/cfloor", str(base), str(args.units), str(UNITS_A_PORT), str(REGISTERS), "1000", str(mqtt), "0", "1"])
    try:
        time.sleep(2)
        share = measure(process.pid, args.seconds / 2)
        return share, peak_mb(process.pid)
    finally:
        process.kill()
        process.wait()


def gateway(args, directory, base, control):
    api, data = free_port(), f"{directory}/data"
    crm = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Crm)
    crm.daemon_threads = True
    threading.Thread(target=crm.serve_forever, daemon=True).start()
    config = f"{directory}/gatehouse.toml"
    configuration(config, base, args.units, api, crm.server_address[1], data)
    process = subprocess.Popen([args.binary, "run", "--config", config], stderr=open(f"{directory}/log", "w"),
                               env={**os.environ, "MALLOC_ARENA_MAX": "1"})  # as the unit has it
    try:
        wait_for("gatehouse", lambda: urllib.request.urlopen(f"http://127.0.0.1:{api}/readyz").status == 200)
        wait_for("the first poll", lambda: control.ask("stats")["devices_seen"] == args.units)
        time.sleep(2)
        pulled, stop = {}, threading.Event()
        threading.Thread(target=pull, args=(api, pulled, stop), daemon=True).start()
        control.ask("reset")
        before, t0 = cpu(process.pid), time.time()
        units = random.Random(7).sample(range(args.units), min(args.flips, args.units))
        for n, unit in enumerate(units):
            time.sleep(max(0, t0 + (args.seconds - 3) * n / len(units) - time.time()))
            control.ask(f"set {unit} {REGISTERS - 1} 20000")
        time.sleep(max(0, t0 + args.seconds - time.time()))
        share = (cpu(process.pid) - before) / (time.time() - t0)
        stats, flips = control.ask("stats"), control.ask("flips")
        stop.set()
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{api}/metrics").read().decode()
        return share, peak_mb(process.pid), stats, flips, pulled, dict(Crm.arrived), metrics
    finally:
        process.terminate()
        process.wait(15)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--units", type=int, default=300)
    parser.add_argument("--flips", type=int, default=150)
    parser.add_argument("--binary", default=os.path.join(HERE, "..", "target", "release", "gatehouse"))
    parser.add_argument("--check", action="store_true", help="end with 1 where a promise is missed: CPU, memory, polling, CRM")
    args = parser.parse_args()
    for tool in ("cc", "pkg-config", "mosquitto"):
        if not shutil.which(tool) and not os.path.exists(f"/usr/sbin/{tool}"):
            sys.exit(f"{tool} is missing; apt-get install gcc pkg-config mosquitto libmodbus-dev libmosquitto-dev")
    if not os.path.exists(args.binary):
        sys.exit(f"{args.binary} is missing; cargo build --release")
    directory = tempfile.mkdtemp(prefix="gatehouse-load-")
    build(directory)
    ports = (args.units + UNITS_A_PORT - 1) // UNITS_A_PORT
    base = free_port(ports + 2)
    ctl, mqtt = base + ports, base + ports + 1
    broker = subprocess.Popen(["mosquitto", "-p", str(mqtt)], env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}, stderr=subprocess.DEVNULL)
    sim = subprocess.Popen([f"{directory}/modsim", "--port", str(base), "--devices", str(args.units), "--units-per-port", str(UNITS_A_PORT),
                            "--regs", str(REGISTERS), "--ctl", str(ctl)], stdout=subprocess.DEVNULL)
    try:
        wait_for("modsim", lambda: socket.create_connection(("127.0.0.1", ctl)).close() is None)
        wait_for("mosquitto", lambda: socket.create_connection(("127.0.0.1", mqtt)).close() is None)
        control = Control(ctl)
        floor1 = floor(args, directory, base, mqtt)
        control.ask("reset")
        share, peak, stats, flips, pulled, pushed, metrics = gateway(args, directory, base, control)
        floor2 = floor(args, directory, base, mqtt)
    finally:
        sim.kill()
        broker.kill()
    served = {f"d{f['d']}": f["t_served"] for f in flips if f["t_served"]}
    mean = (floor1[0] + floor2[0]) / 2
    scans = stats["scans_min"] / stats["elapsed"]
    told = lambda arrived: [arrived[d] - t for d, t in served.items() if d in arrived]
    print(f"{args.units} units × {REGISTERS} registers, 1 s, {ports} endpoints, {stats['elapsed']:.0f} s, {len(served)} tickets")
    print(f"cpu        gatehouse {share:.4f} s/s   floor {floor1[0]:.4f} and {floor2[0]:.4f}   ratio {share / mean:.2f}")
    print(f"memory     gatehouse {peak:.1f} MB peak   floor {floor1[1]:.1f} MB")
    print(f"polling    slowest unit {scans:.3f} scans/s   gap p50 {stats['gap_ms']['p50']:.0f}  p99 {stats['gap_ms']['p99']:.0f}  max {stats['gap_ms']['max']:.0f} ms   exceptions {stats['exceptions']}")
    print(f"durable    {percentiles(told(pulled))}   (answer's last byte → with a puller, so synced before), {len(told(pulled))} of {len(served)}")
    print(f"crm        {percentiles(told(pushed))}   (answer's last byte → received by the CRM), {len(told(pushed))} of {len(served)}")
    for line in metrics.splitlines():
        if line.startswith(("gatehouse_ticket_durable_seconds_", "gatehouse_commit_seconds_")) and "bucket" not in line:
            print("           " + line)
    crm = sorted(told(pushed))
    missed = [text for text, ok in [
        ("CPU above 4 × the floor", share <= 4 * mean), ("memory above 24 MB", peak <= 24), ("a unit was not polled each second", scans >= 0.96),
        ("not every ticket at the CRM", len(crm) == len(units_flipped(flips))), ("CRM p99 above 100 ms", crm and crm[min(len(crm) - 1, int(len(crm) * .99))] <= 0.1),
    ] if not ok]
    print("all promises kept" if not missed else "missed: " + "; ".join(missed))
    shutil.rmtree(directory, ignore_errors=True)
    sys.exit(1 if missed and args.check else 0)


def units_flipped(flips):
    return {f["d"] for f in flips if f["t_served"]}


if __name__ == "__main__":
    main()
