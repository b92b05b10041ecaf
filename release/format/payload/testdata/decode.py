"""Applies a payload as Flatcar's clients do, with nothing but Python's own hashes and bzip2.

Usage: decode.py PAYLOAD DIR [OLD-IMAGE OLD-KERNEL]
Writes image, kernel, signature and body (what was signed) to DIR. With old files, the payload must be a delta from these.
"""
import bz2
import hashlib
import pathlib
import struct
import sys

payload = pathlib.Path(sys.argv[1]).read_bytes()
out = pathlib.Path(sys.argv[2])


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def message(data):
    fields, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 2:
            length, at = varint(data, at)
            assert at + length <= len(data)
            value, at = data[at : at + length], at + length
        else:
            raise AssertionError(f"wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def one(fields, number):
    (value,) = fields[number]
    return value


magic, version, length = struct.unpack(">4sQQ", payload[:20])
assert (magic, version) == (b"CrAU", 1)
manifest = message(payload[20 : 20 + length])
data = payload[20 + length :]
assert one(manifest, 3) == 4096
assert 8 not in manifest
expected = 0  # where the data of the next operation must begin


def blob_of(op):
    global expected
    offset, length = one(op, 2), one(op, 3)
    assert offset == expected, "skipped to unexpected data offset"
    expected += length
    blob = data[offset : offset + length]
    assert len(blob) == length
    assert hashlib.sha256(blob).digest() == one(op, 8)
    assert 4 not in op
    content = bz2.decompress(blob) if one(op, 1) == 1 else blob
    assert one(op, 1) == 0 or length < len(content)
    return content


def check(image, info):
    info = message(info)
    image = bytes(image[: one(info, 1)])
    assert len(image) == one(info, 1)
    assert hashlib.sha256(image).digest() == one(info, 2)
    return image


def apply(operations, info):
    image = bytearray()
    for encoded in operations:
        op = message(encoded)
        assert one(op, 1) in (0, 1)
        content = blob_of(op)
        extent = message(one(op, 6))
        start, blocks = one(extent, 1), one(extent, 2)
        assert blocks == 256 and len(content) <= blocks * 4096
        assert start * 4096 == len(image)
        image += content
    assert len(image) == one(message(info), 1)
    return check(image, info)


def extents(op, field):
    pairs = [message(e) for e in op[field]]
    return [(one(e, 1) * 4096, one(e, 2) * 4096) for e in pairs]


def change(operations, info, old):
    """Changes a copy of what is old, in place, and pads the last block."""
    image = bytearray(old) + bytes(-len(old) % 4096)
    for encoded in operations:
        op = message(encoded)
        kind = one(op, 1)
        if kind == 2:
            assert not {2, 3, 8} & op.keys()
            content = b"".join(bytes(image[at : at + n]) for at, n in extents(op, 4))
        else:
            assert kind in (0, 1)
            content = blob_of(op)
        content += bytes(-len(content) % 4096)
        for at, n in extents(op, 6):
            assert n <= len(content)
            image.extend(bytes(max(0, at + n - len(image))))
            image[at : at + n] = content[:n]
            content = content[n:]
        assert not content
    return check(image, info)


old = [pathlib.Path(name).read_bytes() for name in sys.argv[3:]]
if old:
    apply = lambda operations, info: change(operations, info, old.pop(0))  # noqa: E731

(out / "image").write_bytes(apply(manifest.get(1, []), one(manifest, 9)))
partition_end = expected
for encoded in manifest.get(10, []):
    procedure = message(encoded)
    assert one(procedure, 1) == 0
    if old:
        check(old[0], one(procedure, 3))
    (out / "kernel").write_bytes(apply(procedure.get(2, []), one(procedure, 4)))

assert (one(manifest, 4), one(manifest, 4) + one(manifest, 5)) == (expected, len(data))
signature = message(one(message(data[expected:]), 1))
assert one(signature, 1) == 2
(out / "signature").write_bytes(one(signature, 2))
(out / "body").write_bytes(payload[: 20 + length + expected])

# A client that knows no procedures reads on through the noops.
expected = partition_end
for encoded in manifest[2]:
    op = message(encoded)
    extent = message(one(op, 6))
    assert one(op, 1) == 0 and one(op, 2) == expected and 8 not in op
    assert one(extent, 1) == 2**64 - 1 and one(extent, 2) == -(-one(op, 3) // 4096)
    expected += one(op, 3)
assert expected == len(data)
