package dev.imago.qcow2;

import dev.imago.internal.Buffers;
import dev.imago.internal.IsaL;
import dev.imago.internal.LibDeflate;
import java.nio.ByteBuffer;

/**
 * Raw deflate of clusters by the system's libdeflate, two to four times as fast as the zlib of the
 * JDK, or, to encode at the usual level, by its ISA-L, which is faster still. Safe for many
 * threads.
 */
final class FastDeflate implements AutoCloseable {
  /** The fastest; its files are mostly shorter than QEMU's, whose window is 4 KiB. */
  private static final int USUAL_LEVEL = 1;

  private static final int MOST_LEVEL = 9;

  private final IdlePool<LibDeflate.Decompressor> inflaters =
      new IdlePool<>(LibDeflate.Decompressor::new, LibDeflate.Decompressor::close);

  private final IdlePool<LibDeflate.Compressor> deflaters;

  private final IdlePool<IsaL.Compressor> usualDeflaters =
      new IdlePool<>(IsaL.Compressor::new, IsaL.Compressor::close);

  private final boolean usual;

  /**
   * Loads nothing yet.
   *
   * @param how its level: 1 is fast, 9 makes the least, as does anything above; -1 is the usual one
   */
  FastDeflate(Compression how) {
    int level = how.level();
    this.usual = level < 0 && !how.portable();
    int used = level < 0 ? USUAL_LEVEL : Math.min(level, MOST_LEVEL);
    this.deflaters =
        new IdlePool<>(() -> new LibDeflate.Compressor(used), LibDeflate.Compressor::close);
  }

  /** Whether there is a library that decodes. */
  boolean decodes() {
    return LibDeflate.available();
  }

  /** Whether there is a library that encodes. */
  boolean encodes() {
    return usual && IsaL.available() || LibDeflate.available();
  }

  /**
   * Fills {@code cluster} from its position to its limit.
   *
   * @return false, and no position has moved, if what is encoded is not a stream of just as many
   *     bytes; what {@code cluster} holds then is of no use
   */
  boolean decode(ByteBuffer encoded, ByteBuffer cluster) {
    if (cluster.isDirect()) {
      return decodeDirect(encoded, cluster);
    }
    try (Buffers.Lease lease = Buffers.take(cluster.remaining())) {
      ByteBuffer plain = lease.buffer();
      boolean done = decodeDirect(encoded, plain);
      if (done) {
        cluster.put(plain.flip());
      }
      return done;
    }
  }

  private boolean decodeDirect(ByteBuffer encoded, ByteBuffer cluster) {
    LibDeflate.Decompressor inflater = inflaters.take();
    try {
      boolean done = inflater.decompress(encoded, cluster);
      if (done) {
        cluster.position(cluster.limit());
      }
      return done;
    } finally {
      inflaters.giveBack(inflater);
    }
  }

  /**
   * Encodes a whole cluster; the position of {@code encoded} moves behind it.
   *
   * @return false if it does not fit
   */
  boolean encode(ByteBuffer cluster, ByteBuffer encoded) {
    int length = length(cluster, encoded);
    encoded.position(encoded.position() + length);
    return length > 0;
  }

  private int length(ByteBuffer cluster, ByteBuffer encoded) {
    if (usual && IsaL.available()) {
      IsaL.Compressor deflater = usualDeflaters.take();
      try {
        return deflater.compress(cluster, encoded);
      } finally {
        usualDeflaters.giveBack(deflater);
      }
    }
    LibDeflate.Compressor deflater = deflaters.take();
    try {
      return deflater.compress(cluster, encoded);
    } finally {
      deflaters.giveBack(deflater);
    }
  }

  @Override
  public void close() {
    inflaters.close();
    deflaters.close();
    usualDeflaters.close();
  }
}
