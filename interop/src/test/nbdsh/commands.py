# Run by nbdsh, which is connected as h, against an overlay of 16 MiB: every command with each of its
# flags, and what must be refused. ServingTest looks at the image afterwards.
import errno

K = 1024
M = K * K


def refused(number, call):
    try:
        call()
    except nbd.Error as e:
        assert e.errnum == number, (e.errno, number)
        return
    assert False, "was not refused"


size = h.get_size()
assert size == 16 * M
assert h.can_fua() and h.can_flush() and h.can_trim() and h.can_zero() and h.can_fast_zero()
assert h.can_df() and h.can_cache() and h.can_multi_conn() and not h.is_read_only()
assert h.get_structured_replies_negotiated()
assert h.get_block_size(nbd.SIZE_MAXIMUM) == 32 * M

# WRITE, READ, with and without their flags.
data = bytes(range(256)) * 4 * K
h.pwrite(data, 2 * M)
assert h.pread(len(data), 2 * M) == data
h.pwrite(data, 3 * M + 77, nbd.CMD_FLAG_FUA)
assert h.pread(len(data), 3 * M + 77) == data
whole = []
h.pread_structured(len(data), 2 * M, lambda *piece: whole.append(piece[0]), nbd.CMD_FLAG_DF)
assert whole == [data]

# A structured read in pieces: holes are told, and cover what is not data.
seen = []


def piece(buf, offset, status, error):
    seen.append((offset, len(buf), status))


h.pread_structured(4 * M, 6 * M, piece)
assert sum(length for _, length, _ in seen) == 4 * M, seen
assert all(status == nbd.READ_HOLE for _, _, status in seen), seen

# FLUSH, CACHE.
h.flush()
h.cache(M, 0)

# TRIM, with and without FUA.
h.trim(64 * K, 2 * M)
h.trim(64 * K, 2 * M + 64 * K, nbd.CMD_FLAG_FUA)

# WRITE_ZEROES with each flag.
h.zero(64 * K, 3 * M)
assert h.pread(64 * K, 3 * M) == bytes(64 * K)
h.zero(1000, 3 * M + 64 * K + 1, nbd.CMD_FLAG_NO_HOLE)
h.zero(64 * K, 3 * M + 128 * K, nbd.CMD_FLAG_FUA)
h.zero(64 * K, 3 * M + 192 * K, nbd.CMD_FLAG_FAST_ZERO)
h.pwrite(data, 10 * M)
refused(errno.EOPNOTSUPP, lambda: h.zero(10, 10 * M + 10, nbd.CMD_FLAG_FAST_ZERO))
assert h.pread(len(data), 10 * M) == data

# BLOCK_STATUS.
entries = {}


def extent(context, offset, e, error):
    entries.setdefault(context, []).extend(e)


h.block_status(size, 0, extent)
assert sum(entries["base:allocation"][0::2]) == size
entries.clear()
h.block_status(2 * M, 10 * M, extent, nbd.CMD_FLAG_REQ_ONE)
assert len(entries["base:allocation"]) == 2, entries

# What the server must refuse, although the library would not even send it.
h.set_strict_mode(0)
refused(errno.EINVAL, lambda: h.pread(2, size - 1))
refused(errno.ENOSPC, lambda: h.pwrite(b"xx", size - 1))
refused(errno.ENOSPC, lambda: h.zero(2, size - 1))
refused(errno.EINVAL, lambda: h.trim(2, size - 1))
refused(errno.EINVAL, lambda: h.pread(1, 0, nbd.CMD_FLAG_NO_HOLE))
refused(errno.EINVAL, lambda: h.pwrite(b"x", 0, nbd.CMD_FLAG_REQ_ONE))
assert h.pread(0, 0) == b""

# Many at once, read back in any order.
buffers = [nbd.Buffer(64 * K) for _ in range(60)]
cookies = [h.aio_pread(b, i * 64 * K) for i, b in enumerate(buffers)]
for cookie in cookies:
    while not h.aio_command_completed(cookie):
        h.poll(-1)
for i in (0, 20, 59):
    assert buffers[i].to_bytearray() == h.pread(64 * K, i * 64 * K)

# A second connection sees what this one wrote, and flushes it.
other = nbd.NBD()
other.connect_uri(h.get_uri())
h.pwrite(b"shared", 12 * M)
assert other.pread(6, 12 * M) == b"shared"
other.flush()
other.shutdown()
h.shutdown()
print("all done")
