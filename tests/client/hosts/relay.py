"""A host that the test plays: its standard input and output, handed on to the socket whose name is the argument.

First its process id goes out, as four bytes. It ends with status 0 at the end of its input or of the socket.
"""

import contextlib
import os
import socket
import sys
import threading


def pump_input(link: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the test has left
        while data := os.read(0, 1 << 20):
            link.sendall(data)
        os._exit(0)


with socket.socket(socket.AF_UNIX) as link:
    link.connect("\0" + sys.argv[1])
    link.sendall(os.getpid().to_bytes(4, "little"))
    threading.Thread(target=pump_input, args=(link,), daemon=True).start()
    while data := link.recv(1 << 20):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
os._exit(0)
