package dev.imago.qcow2;

import com.github.luben.zstd.Zstd;
import com.github.luben.zstd.ZstdException;
import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Header;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.zip.DataFormatException;
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

  /** The codec of a header's compression type. */
  static ClusterCodec of(int compressionType) {
    return compressionType == Header.COMPRESSION_ZSTD ? new Zstandard() : new Deflate();
  }

  /** Raw deflate. What goes on behind a full cluster is ignored. */
  final class Deflate implements ClusterCodec {
    /** Making one costs as much as inflating a few KiB. */
    private final ConcurrentLinkedQueue<Inflater> idle = new ConcurrentLinkedQueue<>();

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
  }

  /** One or more zstd frames. What goes on behind a full cluster is ignored. */
  final class Zstandard implements ClusterCodec {
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
