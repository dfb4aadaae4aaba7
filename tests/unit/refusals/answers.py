"""Answers of a broken or hostile dependency, each sent after a request's head was read."""

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from itertools import repeat

Speak = Callable[[asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\n"
MIB = 1024 * 1024


@cache
def bomb(kind: str) -> bytes:
    """Compress 64 MB to 64 kB."""
    packer = zlib.compressobj(9, wbits=31 if kind == "gzip" else 15)
    block = bytes(MIB)
    return b"".join(packer.compress(block) for _ in range(64)) + packer.flush()


def says(*pieces: bytes) -> Speak:
    """Send these bytes and close."""
    return lambda writer: _write(writer, iter(pieces))


def goes_on(head: bytes, piece: bytes) -> Speak:
    """Send the piece as fast as possible, without an end."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await _write(writer, repeat(piece))

    return speak


def drips(head: bytes, piece: bytes) -> Speak:
    """Send a little at a time, so that no pause is ever long."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    return speak


async def says_nothing(writer: asyncio.StreamWriter) -> None:
    """Keep the connection open and send nothing."""
    await asyncio.Event().wait()


async def _write(writer: asyncio.StreamWriter, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()


def packed(encoding: bytes, data: bytes) -> Speak:
    """A complete answer with this content encoding."""
    length = str(len(data)).encode()
    return says(OK + b"Content-Encoding: " + encoding + b"\r\nContent-Length: " + length + b"\r\n\r\n" + data)


def body(data: bytes) -> Speak:
    """A complete answer."""
    return says(OK + b"Content-Length: " + str(len(data)).encode() + b"\r\n\r\n" + data)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
NO = b"HTTP/1.1 404 No\r\n"
BLOCK = b"a" * 65536

# These fail as soon as the limit is reached.
LARGE: dict[str, Speak] = {
    "64 megabytes in a gzip": packed(b"gzip", bomb("gzip")),
    "a gzip that never ends": goes_on(OK + b"Content-Encoding: gzip\r\n\r\n", bomb("gzip")),
    "a gzip in chunks": says(CHUNKED[:-2] + b"Content-Encoding: gzip\r\n\r\n%x\r\n" % len(bomb("gzip")) + bomb("gzip")),
    "a body that never ends": goes_on(OK + b"\r\n", BLOCK),
    "spaces that never end": goes_on(OK + b"\r\n", b" " * 65536),
    "chunks that never end": goes_on(CHUNKED, b"10000\r\n" + BLOCK + b"\r\n"),
    "a terabyte announced": goes_on(OK + b"Content-Length: 1099511627776\r\n\r\n", BLOCK),
    "five megabytes": body(b" " * 5 * MIB),
}  # fmt: skip

# These are not valid answers and fail at once.
BROKEN: dict[str, Speak] = {
    "a deflate, though we asked for a gzip": packed(b"deflate", bomb("deflate")),
    "a status line in drops": drips(b"", b"H"),
    "a gzip in drops": drips(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}")[:10], b"\x00"),
    "trailers that never end": goes_on(CHUNKED + b"0\r\n", b"X: y\r\n" * 4096),
    "no HTTP": says(b"what?\r\n\r\n"),
    "SSH": says(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "TLS": says(b"\x15\x03\x01\x00\x02\x02\x46"),
    "HTTP 0.9": says(b"<html>hello</html>"),
    "HTTP 2": says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)),
    "zeros": says(bytes(MIB)),
    "a status of two digits": says(b"HTTP/1.1 20 OK\r\n\r\n"),
    "a status of four digits": says(b"HTTP/1.1 2000 OK\r\n\r\n"),
    "a negative status": says(b"HTTP/1.1 -200 OK\r\n\r\n"),
    "a version that is none": says(b"HTTP/9.9.9 200 OK\r\n\r\n"),
    "a header without colon": says(OK + b"nonsense\r\n\r\n"),
    "a header with a null": says(OK + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}"),
    "a header of a megabyte": says(OK + b"X: " + b"a" * MIB + b"\r\n\r\n{}"),
    "a header that never ends": goes_on(OK + b"X: ", BLOCK),
    "headers that never end": goes_on(OK, b"X: y\r\n" * 4096),
    "a status line that never ends": goes_on(b"HTTP/1.1 200 ", BLOCK),
    "ten thousand headers": says(OK + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n{}"),
    "a body that breaks off": says(OK + b"Content-Length: 99\r\n\r\n{}"),
    "two lengths": says(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
    "a negative length": says(OK + b"Content-Length: -1\r\n\r\n{}"),
    "a length that is none": says(OK + b"Content-Length: 2x\r\n\r\n{}"),
    "a length with a plus": says(OK + b"Content-Length: +2\r\n\r\n{}"),
    "a length of many digits": says(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}"),
    "a chunk size that is none": says(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
    "a negative chunk size": says(CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n"),
    "a chunk size beyond 64 bits": says(CHUNKED + b"fffffffffffffffff\r\n{}"),
    "a chunk size with 0x": says(CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk that is too short": says(CHUNKED + b"5\r\n{}\r\n0\r\n\r\n"),
    "a chunk that is too long": says(CHUNKED + b"1\r\n{}\r\n0\r\n\r\n"),
    "chunks without an end": says(CHUNKED + b"2\r\n{}\r\n"),
    "half a chunk size": says(CHUNKED + b"1"),
    "a transfer encoding nobody knows": says(OK + b"Transfer-Encoding: rot13\r\nContent-Length: 2\r\n\r\n{}"),
    "length and chunks": says(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "gzip that is none": packed(b"gzip", b"{}"),
    "half a gzip": packed(b"gzip", gzip.compress(b"{}" * 100)[:20]),
    "a gzip with a wrong checksum": packed(b"gzip", gzip.compress(b"{}")[:-8] + bytes(8)),
    "deflate that is none": packed(b"deflate", b"{}"),
    "something behind a gzip": packed(b"gzip", gzip.compress(b"{}") + b"x"),
    "two gzips": packed(b"gzip", gzip.compress(b"{") + gzip.compress(b"}")),
    "a gzip in a gzip": packed(b"gzip, gzip", gzip.compress(gzip.compress(b"{}"))),
    "an encoding nobody knows": packed(b"rot13", b"{}"),
    "brotli": packed(b"br", b"\x0b\x00\x80{}\x03"),
    "zstd": packed(b"zstd", b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00{}"),
}  # fmt: skip

# The connection closes before anything like an answer was sent.
GONE: dict[str, Speak] = {
    "nothing": says(b""),
    "a line break": says(b"\r\n"),
    "half a status line": says(b"HTTP/1.1 200 O"),
    "half a head": says(OK + b"Content-Le"),
}  # fmt: skip

# These fail at the time-out.
SLOW: dict[str, Speak] = {
    "tiny chunks that never end": goes_on(CHUNKED, b"1\r\na\r\n" * 8192),
    "a chunk size that never ends": goes_on(CHUNKED, b"0" * 65536),
    "silence": says_nothing,
    "headers in drops": drips(OK, b"X: y\r\n"),
    "one header in drops": drips(OK + b"X: ", b"a"),
    "a body in drops": drips(OK + b"\r\n", b" "),
    "a long body in drops": drips(OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "chunks in drops": drips(CHUNKED, b"1\r\n \r\n"),
    "a chunk size in drops": drips(CHUNKED, b"0"),
    "a chunk extension in drops": drips(CHUNKED + b"1;", b"x"),
    "trailers in drops": drips(CHUNKED + b"0\r\n", b"X: y\r\n"),
    "interim answers in drops": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "interim answers that never end": goes_on(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100),
    "a chunk extension that never ends": goes_on(CHUNKED + b"1;", BLOCK),
}  # fmt: skip

# Errors whose body is not needed and must not be awaited.
UNWANTED: dict[str, Speak] = {
    "an error that never ends": goes_on(b"HTTP/1.1 500 No\r\n\r\n", BLOCK),
    "an error in drops": drips(b"HTTP/1.1 500 No\r\n\r\n", b" "),
    "a refusal that never ends": goes_on(NO + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + BLOCK + b"\r\n"),
    "a refusal in a bomb": says(NO + b"Content-Encoding: gzip\r\nContent-Length: 999999999\r\n\r\n" + bomb("gzip")),
    "a redirect that never ends": goes_on(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", BLOCK),
}  # fmt: skip
