package dev.imago.qcow2;

import com.github.luben.zstd.Zstd;
import com.github.luben.zstd.ZstdException;
import dev.imago.qcow2.ondisk.Header;
import java.io.IOException;
import java.nio.ByteBuffer;
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
   * Fills {@code cluster}, an array-backed buffer, from its position to its limit.
   *
   * @param encoded array-backed; may go on behind the end of the encoded bytes
   * @throws IOException if the bytes do not give a whole cluster; {@code cluster}'s position is
   *     then as it was, and what it holds must not be used
   */
  void decode(ByteBuffer encoded, ByteBuffer cluster) throws IOException;

  /** The codec of a header's compression type. */
  static ClusterCodec of(int compressionType) {
    return compressionType == Header.COMPRESSION_ZSTD ? new Zstandard() : new Deflate();
  }

  /** Raw deflate. What goes on behind a full cluster is ignored. */
  record Deflate() implements ClusterCodec {
    @Override
    public String encoding() {
      return "deflate";
    }

    @Override
    public void decode(ByteBuffer encoded, ByteBuffer cluster) throws IOException {
      int start = cluster.position();
      try (Inflater inflater = new Inflater(true)) {
        inflater.setInput(encoded);
        while (cluster.hasRemaining()) {
          int count = inflater.inflate(cluster);
          if (count == 0) {
            throw new IOException(
                "deflate stream ends after %d bytes; a cluster has %d"
                    .formatted(cluster.position() - start, cluster.limit() - start));
          }
        }
      } catch (DataFormatException e) {
        cluster.position(start);
        throw new IOException("no deflate stream: " + e.getMessage(), e);
      } catch (IOException e) {
        cluster.position(start);
        throw e;
      }
    }
  }

  /** One or more zstd frames. What goes on behind a full cluster is ignored. */
  record Zstandard() implements ClusterCodec {
    @Override
    public String encoding() {
      return "zstd";
    }

    @Override
    public void decode(ByteBuffer encoded, ByteBuffer cluster) throws IOException {
      byte[] in = encoded.array();
      int at = encoded.arrayOffset() + encoded.position();
      int end = encoded.arrayOffset() + encoded.limit();
      int out = cluster.position();
      while (out < cluster.limit()) {
        long frame = Zstd.findFrameCompressedSize(in, at, end - at);
        if (Zstd.isError(frame)) {
          throw new IOException("no zstd frame: " + Zstd.getErrorName(frame));
        }
        long count;
        try {
          count =
              Zstd.decompressByteArray(
                  cluster.array(),
                  cluster.arrayOffset() + out,
                  cluster.limit() - out,
                  in,
                  at,
                  (int) frame);
        } catch (ZstdException e) {
          throw new IOException("bad zstd frame: " + e.getMessage(), e);
        }
        if (Zstd.isError(count) || frame <= 0) {
          throw new IOException("bad zstd frame: " + Zstd.getErrorName(count));
        }
        at += (int) frame;
        out += (int) count;
      }
      cluster.position(out);
    }
  }
}
