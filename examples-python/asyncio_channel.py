"""A channel from Python, by ctypes alone: sends from one process, receives in another's asyncio loop by the eventfd.

    python3 asyncio_channel.py [PATH]      libdisk_chan.so.0 is looked for where the loader looks; LD_LIBRARY_PATH helps
"""
import asyncio, ctypes, os, shutil, sys, tempfile

AGAIN, END_OF_PAGE, LAGGED, MESSAGES = -4097, 1, 2, 1000
lib = ctypes.CDLL("libdisk_chan.so.0")
lib.dc_last_error.restype = ctypes.c_char_p
HANDLE, IN = ctypes.c_void_p, ctypes.c_char_p
lib.dc_open.argtypes = [IN, HANDLE, ctypes.POINTER(HANDLE)]
lib.dc_producer_open.argtypes = [HANDLE, ctypes.POINTER(HANDLE)]
lib.dc_subscribe.argtypes = [HANDLE, IN, HANDLE, ctypes.POINTER(HANDLE)]
lib.dc_send.argtypes = [HANDLE, IN, ctypes.c_size_t, ctypes.c_int]
for one in (lib.dc_close, lib.dc_producer_close, lib.dc_consumer_close, lib.dc_next_page, lib.dc_consumer_fd):
    one.argtypes = [HANDLE]


class Message(ctypes.Structure):  # dc_message
    _fields_ = [("data", ctypes.c_void_p), ("len", ctypes.c_size_t), ("position", ctypes.c_uint64),
                ("flags", ctypes.c_uint32), ("deliveries", ctypes.c_uint32)]


lib.dc_recv.argtypes = [HANDLE, ctypes.POINTER(Message), ctypes.c_int]


def ok(code):
    if code < 0:
        raise OSError(code, lib.dc_last_error().decode())
    return code


def handle(function, *arguments):
    made = HANDLE()
    ok(function(*arguments, ctypes.byref(made)))
    return made


def receive(consumer):
    """What is there, as bytes of our own, until there is no more."""
    message = Message()
    while (code := lib.dc_recv(consumer, ctypes.byref(message), 0)) != AGAIN:
        if ok(code) == END_OF_PAGE:
            ok(lib.dc_next_page(consumer))
        elif code != LAGGED:
            yield ctypes.string_at(message.data, message.len)


async def consume(path):
    channel = handle(lib.dc_open, path, None)
    consumer = handle(lib.dc_subscribe, channel, b"python", None)
    received, done = [], asyncio.Event()

    def readable():  # each receiving call that finds nothing arms the descriptor again
        received.extend(receive(consumer))
        if len(received) == MESSAGES:
            done.set()

    asyncio.get_running_loop().add_reader(ok(lib.dc_consumer_fd(consumer)), readable)
    readable()
    await asyncio.wait_for(done.wait(), 60)
    lib.dc_consumer_close(consumer)
    lib.dc_close(channel)
    return received


def produce(path):
    channel = handle(lib.dc_open, path, None)
    producer = handle(lib.dc_producer_open, channel)
    for n in range(MESSAGES):
        payload = b"message %d" % n
        ok(lib.dc_send(producer, payload, len(payload), -1))
    lib.dc_producer_close(producer)
    lib.dc_close(channel)


path = os.fsencode(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp() + "/channel")
child = os.fork()  # before any handle is opened: handles do not cross a fork
if child == 0:
    produce(path)
    os._exit(0)
got = asyncio.run(consume(path))
assert os.waitpid(child, 0)[1] == 0 and got == [b"message %d" % n for n in range(MESSAGES)]
if len(sys.argv) == 1:
    shutil.rmtree(os.path.dirname(path))
print(f"{len(got)} messages, in order")
