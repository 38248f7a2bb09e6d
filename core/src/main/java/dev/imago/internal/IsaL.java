package dev.imago.internal;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;

/**
 * The system's ISA-L, through the foreign-function API: raw deflate of whole buffers, at one level.
 * Looked for, linked and tried on a few bytes when {@link #available} is asked first. What it makes
 * of the same bytes may differ from processor to processor.
 */
public final class IsaL {
  private IsaL() {}

  /** Whether it is there, may be called, and does what it should. */
  public static boolean available() {
    return Found.YES;
  }

  private static final class Found {
    static final boolean YES = find();

    private static boolean find() {
      try {
        // Elsewhere a name alone would be looked for in any folder.
        return System.getProperty("os.name", "").equals("Linux")
            && Functions.DEFLATE != null
            && compresses();
      } catch (LinkageError e) {
        // None on this system, none that is whole, or no permission to call foreign functions.
        return false;
      }
    }

    /** Its structures are known to us by numbers alone: a library with others is not used. */
    private static boolean compresses() {
      byte[] plain = new byte[1000];
      for (int i = 0; i < plain.length; i++) {
        plain[i] = (byte) (i % 7 * (i >> 6));
      }
      ByteBuffer encoded = ByteBuffer.allocateDirect(plain.length);
      ByteBuffer in = ByteBuffer.allocateDirect(plain.length).put(plain).flip();
      Inflater inflater = new Inflater(true);
      try (Compressor compressor = new Compressor()) {
        inflater.setInput(encoded.limit(compressor.compress(in, encoded)));
        byte[] again = new byte[plain.length];
        return inflater.inflate(again) == plain.length
            && inflater.finished()
            && Arrays.equals(plain, again);
      } catch (DataFormatException e) {
        return false;
      } finally {
        inflater.end();
      }
    }
  }

  /**
   * Compresses, for one thread at a time. Its memory is outside of the heap until it is closed; it
   * must not be closed twice, nor used afterwards.
   */
  public static final class Compressor implements AutoCloseable {
    /** The library's best, and still faster than any other's. */
    private static final int LEVEL = 3;

    /** For {@code struct isal_zstream}, which has 82,384 bytes. */
    private static final long STREAM = 128 << 10;

    /** Of the level's default length. */
    private static final int LEVEL_MEMORY = 348_160;

    // Of struct isal_zstream, in bytes.
    private static final int NEXT_IN = 0;
    private static final int AVAIL_IN = 8;
    private static final int NEXT_OUT = 16;
    private static final int AVAIL_OUT = 24;
    private static final int TOTAL_OUT = 28;
    private static final int AT_LEVEL = 40;
    private static final int LEVEL_BUF_SIZE = 44;
    private static final int LEVEL_BUF = 48;
    private static final int END_OF_STREAM = 56;

    private final Arena arena = Arena.ofShared();
    private final MemorySegment stream = arena.allocate(STREAM, 64);
    private final MemorySegment levelMemory = arena.allocate(LEVEL_MEMORY, 64);

    /**
     * Compresses a direct buffer into another one, each from its position to its limit. No position
     * moves.
     *
     * @return how many bytes were written; 0 if they do not fit
     */
    public int compress(ByteBuffer plain, ByteBuffer encoded) {
      MemorySegment from = MemorySegment.ofBuffer(plain);
      MemorySegment to = MemorySegment.ofBuffer(encoded);
      try {
        Functions.INIT.invokeExact(stream);
        stream.set(ADDRESS, NEXT_IN, from);
        stream.set(JAVA_INT, AVAIL_IN, (int) from.byteSize());
        stream.set(ADDRESS, NEXT_OUT, to);
        stream.set(JAVA_INT, AVAIL_OUT, (int) to.byteSize());
        stream.set(JAVA_INT, AT_LEVEL, LEVEL);
        stream.set(JAVA_INT, LEVEL_BUF_SIZE, LEVEL_MEMORY);
        stream.set(ADDRESS, LEVEL_BUF, levelMemory);
        stream.set(JAVA_SHORT, END_OF_STREAM, (short) 1);
        int result = (int) Functions.DEFLATE.invokeExact(stream);
        return result == 0 ? stream.get(JAVA_INT, TOTAL_OUT) : 0;
      } catch (Throwable e) {
        throw NativeLibrary.unchecked(e);
      } finally {
        Reference.reachabilityFence(plain);
        Reference.reachabilityFence(encoded);
      }
    }

    @Override
    public void close() {
      arena.close();
    }
  }

  /** Linked when first used. */
  private static final class Functions {
    private static final NativeLibrary LIBRARY = NativeLibrary.load("libisal.so.2");

    static final MethodHandle INIT =
        LIBRARY.link("isal_deflate_stateless_init", FunctionDescriptor.ofVoid(ADDRESS));
    static final MethodHandle DEFLATE =
        LIBRARY.link("isal_deflate_stateless", FunctionDescriptor.of(JAVA_INT, ADDRESS));
  }
}
