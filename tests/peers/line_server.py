"""A line of Modbus devices as a compound has them, by pymodbus, for tests/init.rs.

    line_server.py rtu PATH UNIT=WHAT...
    line_server.py tcp PORT UNIT=WHAT...

WHAT: climate (an XY-MD02: 23.1 degC, 54.6 %), meter (an SDM120: 230.2 V, 1234.5 kWh, ...), odd (no profile fits it).
They refuse registers that they do not have; units not named do not answer.
"""

import asyncio
import sys

from pymodbus import FramerType
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.exceptions import NoSuchIdException
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

METER = {0: 230.2, 6: 4.1, 12: 940.0, 30: 0.98, 70: 50.01, 342: 1234.5}
# No device has these, and something has to stand in each table.
FAR = [SimData(60000, values=[0], datatype=DataType.REGISTERS)]


def words(value):
    return ModbusClientMixin.convert_to_registers(value, ModbusClientMixin.DATATYPE.FLOAT32)


def tables(what):
    match what:
        case "climate":
            return FAR, [SimData(1, values=[231, 546], datatype=DataType.REGISTERS)]
        case "meter":
            return FAR, [SimData(at, values=words(value), datatype=DataType.REGISTERS) for at, value in METER.items()]
        case "odd":
            return [SimData(0, values=[0xABCD] * 3, datatype=DataType.REGISTERS)], FAR
    raise SystemExit(f"{what}?")


def device(unit, what):
    holding, inputs = tables(what)
    bits = [SimData(60000, values=[False] * 16, datatype=DataType.BITS)]
    return SimDevice(id=unit, simdata=(bits, bits, holding, inputs))


async def silent(*_):
    raise NoSuchIdException


async def main(mode, where, units):
    devices = [device(int(unit), what) for unit, what in (pair.split("=") for pair in units)]
    # Device 0 stands for all others. Without it pymodbus 3.16 answers for them with exception 4.
    devices.append(SimDevice(id=0, simdata=SimData(0, count=500, datatype=DataType.REGISTERS), action=silent))
    if mode == "rtu":
        await StartAsyncSerialServer(
            devices, framer=FramerType.RTU, port=where, baudrate=9600, ignore_missing_devices=True
        )
    else:
        await StartAsyncTcpServer(devices, address=("127.0.0.1", int(where)), ignore_missing_devices=True)


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
