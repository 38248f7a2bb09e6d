package dev.imago.crypto;

import dev.imago.internal.Buffers;
import dev.imago.internal.RangeLock;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * A storage whose bytes are encrypted below: each sector of 512 bytes by its host offset. Writes go
 * through buffers of the pool, so that nobody's buffer ever holds ciphertext in place of data;
 * reads are decrypted where they arrive.
 *
 * <p>A sector is encrypted as a whole, so that a write of a part of it reads it first. Meanwhile
 * nobody else reads or writes that sector.
 */
public final class EncryptedStorage extends OverlaidStorage {
  private static final int SECTOR = SectorCipher.SECTOR;

  /** The longest piece that goes through one buffer. */
  private static final int PIECE = 1 << 20;

  private final SectorCipher cipher;
  private final RangeLock sectors = new RangeLock();

  /** Encrypts {@code below}; both are closed with this one. */
  public EncryptedStorage(Storage below, SectorCipher cipher) {
    super(below);
    this.cipher = cipher;
  }

  /** The key. */
  public SectorCipher cipher() {
    return cipher;
  }

  @Override
  public int requestAlignment() {
    return Math.max(SECTOR, below.requestAlignment());
  }

  private static long down(long offset) {
    return offset & -SECTOR;
  }

  private static long up(long offset) {
    return down(offset + SECTOR - 1);
  }

  private static void checkRange(long hostOffset, long length) {
    if (hostOffset < 0 || length < 0 || hostOffset > Long.MAX_VALUE - SECTOR - length) {
      throw new IllegalArgumentException(
          "no such range: " + length + " bytes at host offset " + hostOffset);
    }
  }

  private RangeLock.Held hold(long hostOffset, long length, boolean exclusive) {
    return sectors.acquire(down(hostOffset), up(hostOffset + length), exclusive);
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    checkRange(hostOffset, dst.remaining());
    if (!dst.hasRemaining()) {
      return;
    }
    try (var _ = hold(hostOffset, dst.remaining(), false)) {
      if (((hostOffset | dst.remaining()) & SECTOR - 1) == 0) {
        ByteBuffer sectorsOf = dst.duplicate();
        below.read(dst, hostOffset);
        cipher.decrypt(sectorsOf, hostOffset / SECTOR);
      } else {
        readPartly(dst, hostOffset);
      }
    }
  }

  private void readPartly(ByteBuffer dst, long hostOffset) throws IOException {
    long at = hostOffset;
    try (Buffers.Lease lease =
        Buffers.take((int) Math.min(PIECE, up(hostOffset + dst.remaining()) - down(hostOffset)))) {
      ByteBuffer whole = lease.buffer();
      while (dst.hasRemaining()) {
        int before = (int) (at - down(at));
        int length = Math.min(whole.capacity() - before, dst.remaining());
        readSectors(whole.clear().limit((int) up(before + length)), down(at));
        dst.put(whole.slice(before, length));
        at += length;
      }
    }
  }

  /** Fills a buffer, from 0 to its limit, with whole sectors. */
  private void readSectors(ByteBuffer whole, long hostOffset) throws IOException {
    below.read(whole.position(0), hostOffset);
    cipher.decrypt(whole.position(0), hostOffset / SECTOR);
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    write(new ByteBuffer[] {src}, hostOffset);
  }

  @Override
  public void write(ByteBuffer[] srcs, long hostOffset) throws IOException {
    long length = 0;
    for (ByteBuffer src : srcs) {
      length += src.remaining();
    }
    checkRange(hostOffset, length);
    if (length == 0) {
      return;
    }
    boolean partly = ((hostOffset | length) & SECTOR - 1) != 0;
    long end = hostOffset + length;
    try (var _ = hold(hostOffset, length, partly);
        Buffers.Lease lease = Buffers.take((int) Math.min(PIECE, up(end) - down(hostOffset)))) {
      ByteBuffer piece = lease.buffer();
      int next = 0;
      for (long at = down(hostOffset); at < end; at += piece.limit()) {
        int sectorsEnd = (int) Math.min(piece.capacity(), up(end) - at);
        int from = (int) Math.max(0, hostOffset - at);
        int to = (int) Math.min(sectorsEnd, end - at);
        if (from > 0) {
          readSectors(piece.slice(0, SECTOR), at);
        }
        if (to < sectorsEnd && !(from > 0 && sectorsEnd == SECTOR)) {
          int last = sectorsEnd - SECTOR;
          readSectors(piece.slice(last, SECTOR), at + last);
        }
        next = gather(srcs, next, piece.clear().position(from).limit(to));
        cipher.encrypt(piece.clear().limit(sectorsEnd), at / SECTOR);
        below.write(piece, at);
      }
    }
  }

  /** Fills {@code piece} from the buffers. Returns the first buffer that is not used up. */
  private static int gather(ByteBuffer[] srcs, int first, ByteBuffer piece) {
    int next = first;
    while (piece.hasRemaining()) {
      ByteBuffer src = srcs[next];
      int length = Math.min(piece.remaining(), src.remaining());
      piece.put(piece.position(), src, src.position(), length);
      piece.position(piece.position() + length);
      src.position(src.position() + length);
      if (!src.hasRemaining()) {
        next++;
      }
    }
    return next;
  }

  /** Writes encrypted zeroes, which own their space whatever {@code mode} says. */
  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    checkRange(hostOffset, length);
    long at = hostOffset;
    long end = hostOffset + length;
    while (at < end) {
      ByteBuffer zeroes = Buffers.zeroes(end - at);
      int count = zeroes.remaining();
      write(zeroes, at);
      at += count;
    }
  }

  /** Wipes the key and closes what is below. */
  @Override
  public void close() throws IOException {
    cipher.close();
    below.close();
  }
}
