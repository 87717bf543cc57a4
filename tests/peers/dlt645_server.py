"""A DL/T 645 meter of the `dlt645` package, for tests/meters_dlt645.rs.

    dlt645_server.py PORT ADDRESS

It puts the address on the wire as it is written here; a meter's own is printed the other way round.
"""

import sys
import threading

from dlt645 import MeterServerService

port, address = int(sys.argv[1]), sys.argv[2]
meter = MeterServerService.new_tcp_server("127.0.0.1", port, 60.0)
meter.set_address(address)
meter.set_00(0x00000000, 50.50)
meter.set_02(0x02010100, 231.2)
meter.set_02(0x02010200, 229.9)
meter.set_02(0x02020100, 5.123)
meter.set_02(0x02030000, 1.1837)
meter.set_02(0x02060000, 0.987)
meter.set_02(0x02800002, 49.98)
if not meter.start():
    sys.exit(f"port {port} cannot be listened on")
threading.Event().wait()
