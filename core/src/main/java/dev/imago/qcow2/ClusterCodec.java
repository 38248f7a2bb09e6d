package dev.imago.qcow2;

import com.github.luben.zstd.Zstd;
import com.github.luben.zstd.ZstdCompressCtx;
import com.github.luben.zstd.ZstdDecompressCtx;
import com.github.luben.zstd.ZstdException;
import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Header;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.DataFormatException;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

/**
 * One whole compressed cluster in, one whole cluster out. Safe for many threads.
 *
 * <p>The libraries' contexts, which are outside of the heap, are used again from cluster to
 * cluster: making one costs about as much as the work on a cluster. What is encoded does not depend
 * on what its context was used for before.
 *
 * <p>Spec: qcow2 digest, 6.3.
 */
sealed interface ClusterCodec extends AutoCloseable {

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

  /** Frees the contexts. What is asked later is still done. */
  @Override
  void close();

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

  /**
   * Raw deflate. What goes on behind a full cluster is ignored.
   *
   * <p>Encoding is by a library of the system where there is one. So is decoding, but not before
   * many clusters were decoded: few are done sooner than it is loaded.
   */
  final class Deflate implements ClusterCodec {
    /** Decoded by the JDK first, in bytes. */
    private static final long BY_JDK = 64 << 20;

    private final IdlePool<Inflater> inflaters =
        new IdlePool<>(() -> new Inflater(true), Inflater::end);

    private final IdlePool<Deflater> deflaters;
    private final FastDeflate fast;
    private final boolean shortWindow;
    private final AtomicLong decodedByJdk = new AtomicLong();

    Deflate(Compression how) {
      int level = Math.min(how.level(), Deflater.BEST_COMPRESSION);
      this.deflaters = new IdlePool<>(() -> new Deflater(level, true), Deflater::end);
      this.fast = new FastDeflate(how);
      this.shortWindow = how.shortWindow();
    }

    @Override
    public String encoding() {
      return "deflate";
    }

    @Override
    public void decode(ByteBuffer encoded, ByteBuffer cluster) throws IOException {
      if (decodedByJdk.get() >= BY_JDK && fast.decodes() && fast.decode(encoded, cluster)) {
        return;
      }
      // Also what libdeflate refuses: a stream that goes on behind the cluster is legal, and of one
      // that is not the JDK says what is wrong.
      decodedByJdk.addAndGet(cluster.remaining());
      decodeByJdk(encoded, cluster);
    }

    private void decodeByJdk(ByteBuffer encoded, ByteBuffer cluster) throws IOException {
      int start = cluster.position();
      Inflater inflater = inflaters.take();
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
        inflaters.giveBack(inflater);
      }
    }

    @Override
    public boolean encode(ByteBuffer cluster, ByteBuffer encoded) {
      if (!shortWindow && fast.encodes()) {
        return fast.encode(cluster, encoded);
      }
      Deflater deflater = deflaters.take();
      try {
        return shortWindow
            ? ShortWindow.encode(deflater, cluster, encoded)
            : encode(deflater, cluster, encoded);
      } finally {
        deflater.reset();
        deflaters.giveBack(deflater);
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

    @Override
    public void close() {
      inflaters.close();
      deflaters.close();
      fast.close();
    }
  }

  /** One or more zstd frames. What goes on behind a full cluster is ignored. */
  final class Zstandard implements ClusterCodec {
    private static final int USUAL_LEVEL = 3;

    private final IdlePool<ZstdDecompressCtx> decoders =
        new IdlePool<>(ZstdDecompressCtx::new, ZstdDecompressCtx::close);

    private final IdlePool<ZstdCompressCtx> encoders;

    Zstandard(int level) {
      int used = level < 0 ? USUAL_LEVEL : level;
      this.encoders =
          new IdlePool<>(() -> new ZstdCompressCtx().setLevel(used), ZstdCompressCtx::close);
    }

    @Override
    public boolean encode(ByteBuffer cluster, ByteBuffer encoded) throws IOException {
      int length;
      ZstdCompressCtx encoder = encoders.take();
      try {
        length =
            encoder.compressDirectByteBuffer(
                encoded,
                encoded.position(),
                encoded.remaining(),
                cluster,
                cluster.position(),
                cluster.remaining());
      } catch (ZstdException e) {
        if (e.getErrorCode() == Zstd.errDstSizeTooSmall()) {
          return false;
        }
        throw new IOException("zstd cannot compress: " + e.getMessage(), e);
      } finally {
        encoders.giveBack(encoder);
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
      ZstdDecompressCtx decoder = decoders.take();
      try {
        if (cluster.isDirect()) {
          decode(decoder, encoded, cluster);
          return;
        }
        try (Buffers.Lease lease = Buffers.take(cluster.remaining())) {
          decode(decoder, encoded, lease.buffer());
          cluster.put(lease.buffer().flip());
        }
      } finally {
        decoders.giveBack(decoder);
      }
    }

    private static void decode(ZstdDecompressCtx decoder, ByteBuffer encoded, ByteBuffer cluster)
        throws IOException {
      while (cluster.hasRemaining()) {
        int left = encoded.remaining();
        long frame =
            Zstd.findDirectByteBufferFrameCompressedSize(encoded, encoded.position(), left);
        if (Zstd.isError(frame) || frame <= 0) {
          throw new IOException("no zstd frame: " + Zstd.getErrorName(frame));
        }
        int count;
        try {
          count =
              decoder.decompressDirectByteBuffer(
                  cluster,
                  cluster.position(),
                  cluster.remaining(),
                  encoded,
                  encoded.position(),
                  (int) frame);
        } catch (ZstdException e) {
          throw new IOException("bad zstd frame: " + e.getMessage(), e);
        }
        encoded.position(encoded.position() + (int) frame);
        cluster.position(cluster.position() + count);
      }
    }

    @Override
    public void close() {
      decoders.close();
      encoders.close();
    }
  }
}
