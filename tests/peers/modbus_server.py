"""A pymodbus server with every type in every order, for tests/modbus_pymodbus.rs.

    modbus_server.py tcp|rtu-over-tcp PORT UNIT...
    modbus_server.py rtu PATH UNIT...

Each order has a block of 25 registers, holding and input alike, at 0 (ABCD), 100 (CDAB), 200 (BADC), 300 (DCBA).
Units not named do not answer.
"""

import asyncio
import sys

from pymodbus import FramerType
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.exceptions import NoSuchIdException
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

KIND = ModbusClientMixin.DATATYPE
VALUES = [
    (65244, KIND.UINT16),
    (-205, KIND.INT16),
    (4275878552, KIND.UINT32),
    (-70000, KIND.INT32),
    (18446744073709551615, KIND.UINT64),
    (-9223372036854775803, KIND.INT64),
    (230.2, KIND.FLOAT32),
    (-1.0e-7, KIND.FLOAT64),
    (0x8005, KIND.UINT16),
    ("SN-0042", KIND.STRING),
]


def block(word_order, swap):
    words = []
    for value, kind in VALUES:
        words += ModbusClientMixin.convert_to_registers(value, kind, word_order=word_order)
    return [(w >> 8) | (w & 0xFF) << 8 for w in words] if swap else words


def registers():
    orders = [("big", False), ("little", False), ("big", True), ("little", True)]
    return [
        SimData(100 * n, values=block(*order), datatype=DataType.REGISTERS)
        for n, order in enumerate(orders)
    ]


def device(unit):
    coils = [SimData(0, values=[True, False, True, True, False, False, False, False] * 2, datatype=DataType.BITS)]
    discrete = [SimData(0, values=[False, True, False, False, True, False, False, True] * 2, datatype=DataType.BITS)]
    return SimDevice(id=unit, simdata=(coils, discrete, registers(), registers()))


async def silent(*_):
    raise NoSuchIdException


async def main(mode, where, units):
    devices = [device(int(unit)) for unit in units]
    # Device 0 stands for all others. Without it pymodbus 3.16 answers for them with exception 4.
    devices.append(SimDevice(id=0, simdata=SimData(0, count=500, datatype=DataType.REGISTERS), action=silent))
    if mode == "rtu":
        await StartAsyncSerialServer(
            devices, framer=FramerType.RTU, port=where, baudrate=19200, ignore_missing_devices=True
        )
    else:
        framer = FramerType.SOCKET if mode == "tcp" else FramerType.RTU
        await StartAsyncTcpServer(
            devices, framer=framer, address=("127.0.0.1", int(where)), ignore_missing_devices=True
        )


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
