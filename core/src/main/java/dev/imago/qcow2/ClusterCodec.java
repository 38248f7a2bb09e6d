package dev.imago.qcow2;

import com.github.luben.zstd.Zstd;
import com.github.luben.zstd.ZstdException;
import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Header;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.zip.DataFormatException;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

/**
 * One whole compressed cluster in, one whole cluster out. Safe for many threads.
 *
 * <p>Spec: qcow2 digest, 6.3.
 */
sealed interface ClusterCodec {

  /** The name of the encoding. */
  String encoding();

  /**
   * Fills {@code cluster} from its position to its limit, and moves the position there.
   *
   * @param encoded a direct buffer; may go on behind the end of the encoded bytes
   * @param cluster a direct or array-backed buffer
   * @throws IOException if the bytes do not give a whole cluster; what {@code cluster} holds then
   *     must not be used
   */
  void decode(ByteBuffer encoded, ByteBuffer cluster) throws IOException;

  /**
   * Encodes a whole cluster.
   *
   * @param cluster a direct buffer, from its position to its limit
   * @param encoded a direct buffer; its position moves behind the encoded bytes
   * @return false if they do not fit before its limit; what it holds then is of no use
   */
  boolean encode(ByteBuffer cluster, ByteBuffer encoded) throws IOException;

  /**
   * The codec of a header's compression type.
   *
   * @param how for encoding; anything is decoded
   */
  static ClusterCodec of(int compressionType, Compression how) {
    return compressionType == Header.COMPRESSION_ZSTD
        ? new Zstandard(how.level())
        : new Deflate(how);
  }

  /** Raw deflate. What goes on behind a full cluster is ignored. */
  final class Deflate implements ClusterCodec {
    /** Making one costs as much as inflating a few KiB. */
    private final ConcurrentLinkedQueue<Inflater> idle = new ConcurrentLinkedQueue<>();

    private final ConcurrentLinkedQueue<Deflater> idleDeflaters = new ConcurrentLinkedQueue<>();
    private final int level;
    private final boolean shortWindow;

    Deflate(Compression how) {
      this.level = Math.min(how.level(), Deflater.BEST_COMPRESSION);
      this.shortWindow = how.shortWindow();
    }

    @Override
    public String encoding() {
      return "deflate";
    }

    @Override
    public void decode(ByteBuffer encoded, ByteBuffer cluster) throws IOException {
      int start = cluster.position();
      Inflater inflater = idle.poll();
      if (inflater == null) {
        inflater = new Inflater(true);
      }
      try {
        inflater.setInput(encoded);
        while (cluster.hasRemaining()) {
          if (inflater.inflate(cluster) == 0) {
            throw new IOException(
                "deflate stream ends after %d bytes; a cluster has %d"
                    .formatted(cluster.position() - start, cluster.limit() - start));
          }
        }
      } catch (DataFormatException e) {
        throw new IOException("no deflate stream: " + e.getMessage(), e);
      } finally {
        inflater.reset();
        idle.add(inflater);
      }
    }

    @Override
    public boolean encode(ByteBuffer cluster, ByteBuffer encoded) {
      Deflater deflater = idleDeflaters.poll();
      if (deflater == null) {
        deflater = new Deflater(level, true);
      }
      try {
        return shortWindow
            ? ShortWindow.encode(deflater, cluster, encoded)
            : encode(deflater, cluster, encoded);
      } finally {
        deflater.reset();
        idleDeflaters.add(deflater);
      }
    }

    private static boolean encode(Deflater deflater, ByteBuffer cluster, ByteBuffer encoded) {
      deflater.setInput(cluster);
      deflater.finish();
      while (!deflater.finished() && encoded.hasRemaining()) {
        deflater.deflate(encoded);
      }
      return deflater.finished();
    }
  }

  /** One or more zstd frames. What goes on behind a full cluster is ignored. */
  final class Zstandard implements ClusterCodec {
    private static final int USUAL_LEVEL = 3;

    private final int level;

    Zstandard(int level) {
      this.level = level < 0 ? USUAL_LEVEL : level;
    }

    @Override
    public boolean encode(ByteBuffer cluster, ByteBuffer encoded) throws IOException {
      int length;
      try {
        length =
            (int)
                Zstd.compressDirectByteBuffer(
                    encoded,
                    encoded.position(),
                    encoded.remaining(),
                    cluster,
                    cluster.position(),
                    cluster.remaining(),
                    level);
      } catch (ZstdException e) {
        if (e.getErrorCode() == Zstd.errDstSizeTooSmall()) {
          return false;
        }
        throw new IOException("zstd cannot compress: " + e.getMessage(), e);
      }
      encoded.position(encoded.position() + length);
      return true;
    }

    @Override
    public String encoding() {
      return "zstd";
    }

    @Override
    public void decode(ByteBuffer encoded, ByteBuffer cluster) throws IOException {
      if (cluster.isDirect()) {
        decodeDirect(encoded, cluster);
        return;
      }
      try (Buffers.Lease lease = Buffers.take(cluster.remaining())) {
        decodeDirect(encoded, lease.buffer());
        cluster.put(lease.buffer().flip());
      }
    }

    private static void decodeDirect(ByteBuffer encoded, ByteBuffer cluster) throws IOException {
      while (cluster.hasRemaining()) {
        int left = encoded.remaining();
        long frame =
            Zstd.findDirectByteBufferFrameCompressedSize(encoded, encoded.position(), left);
        if (Zstd.isError(frame) || frame <= 0) {
          throw new IOException("no zstd frame: " + Zstd.getErrorName(frame));
        }
        long count;
        try {
          count =
              Zstd.decompressDirectByteBuffer(
                  cluster,
                  cluster.position(),
                  cluster.remaining(),
                  encoded,
                  encoded.position(),
                  (int) frame);
        } catch (ZstdException e) {
          throw new IOException("bad zstd frame: " + e.getMessage(), e);
        }
        if (Zstd.isError(count)) {
          throw new IOException("bad zstd frame: " + Zstd.getErrorName(count));
        }
        encoded.position(encoded.position() + (int) frame);
        cluster.position(cluster.position() + (int) count);
      }
    }
  }
}
