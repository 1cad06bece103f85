"""WebSockets (RFC 6455) as a backend of the rig has them: all that comes is sent back."""

import base64
import hashlib
import struct

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
CLOSE, PING, PONG = 0x8, 0x9, 0xA


class Echo:
    """A connection that may become a WebSocket; with `transport` and `buffer` of its protocol."""

    is_tunnel = False

    def open_tunnel(self, headers, more=b""):
        """Answers the handshake (RFC 6455 §4.2.2), with more lines of the head."""
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept(headers[b"sec-websocket-key"]) + b"\r\n" + more + b"\r\n"
        )
        self.is_tunnel = True
        self.echo_frames()

    def echo_frames(self):
        """Sends back every whole frame, unmasked (RFC 6455 §5.2); a ping as a pong, a pong not at all."""
        while (frame := take_frame(self.buffer)) is not None:
            first, payload = frame
            opcode = first & 0x0F
            if opcode == PING:
                first = (first & 0xF0) | PONG
            if opcode != PONG:
                self.transport.write(bytes([first]) + length_field(len(payload)) + payload)
            if opcode == CLOSE:
                self.transport.close()
                return


def accept(key):
    """The answer to the key of a handshake."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def length_field(length):
    """The length of an unmasked frame."""
    if length < 126:
        return bytes([length])
    return struct.pack("!BH", 126, length) if length < 65536 else struct.pack("!BQ", 127, length)


def take_frame(buffer):
    """Takes one masked frame: its first byte and its payload; `None` while it is not whole."""
    if len(buffer) < 6:
        return None
    length, start = buffer[1] & 0x7F, 2
    if length == 126:
        length, start = int.from_bytes(buffer[2:4], "big"), 4
    elif length == 127:
        length, start = int.from_bytes(buffer[2:10], "big"), 10
    end = start + 4 + length
    if len(buffer) < end:
        return None
    mask = bytes(buffer[start : start + 4]) * (length // 4 + 1)
    masked = int.from_bytes(buffer[start + 4 : end], "big")
    payload = (masked ^ int.from_bytes(mask[:length], "big")).to_bytes(length, "big")
    first = buffer[0]
    del buffer[:end]
    return first, payload
