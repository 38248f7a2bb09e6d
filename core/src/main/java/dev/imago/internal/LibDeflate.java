package dev.imago.internal;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.ByteBuffer;

/**
 * The system's libdeflate, through the foreign-function API: raw deflate of whole buffers. It is
 * looked for, and linked, when {@link #available} is asked first, which takes longer than the work
 * on a few clusters.
 *
 * <p>A context is used by one thread at a time. Its memory is outside of the heap until it is
 * closed; it must not be closed twice, nor used afterwards.
 */
public final class LibDeflate {
  private LibDeflate() {}

  /** Whether it is there and may be called. */
  public static boolean available() {
    return Found.YES;
  }

  private static final class Found {
    static final boolean YES = find();

    private static boolean find() {
      try {
        return Functions.COMPRESS != null;
      } catch (LinkageError e) {
        // None on this system, none that is whole, or no permission to call foreign functions.
        return false;
      }
    }
  }

  /** Compresses. */
  public static final class Compressor implements AutoCloseable {
    private final MemorySegment context;

    /**
     * Makes a context of some hundred KiB.
     *
     * @param level 1 is fast, 12 makes the least
     */
    public Compressor(int level) {
      try {
        context = notNull((MemorySegment) Functions.NEW_COMPRESSOR.invokeExact(level));
      } catch (Throwable e) {
        throw NativeLibrary.unchecked(e);
      }
    }

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
        return (int)
            (long)
                Functions.COMPRESS.invokeExact(context, from, from.byteSize(), to, to.byteSize());
      } catch (Throwable e) {
        throw NativeLibrary.unchecked(e);
      }
    }

    @Override
    public void close() {
      try {
        Functions.FREE_COMPRESSOR.invokeExact(context);
      } catch (Throwable e) {
        throw NativeLibrary.unchecked(e);
      }
    }
  }

  /** Decompresses. */
  public static final class Decompressor implements AutoCloseable {
    private final MemorySegment context;

    /** Makes a context of some ten KiB. */
    public Decompressor() {
      try {
        context = notNull((MemorySegment) Functions.NEW_DECOMPRESSOR.invokeExact());
      } catch (Throwable e) {
        throw NativeLibrary.unchecked(e);
      }
    }

    /**
     * Fills a direct buffer from another one, each from its position to its limit. No position
     * moves.
     *
     * @param encoded may go on behind the stream
     * @return false if it holds no stream of just as many bytes; what {@code plain} holds then is
     *     of no use
     */
    public boolean decompress(ByteBuffer encoded, ByteBuffer plain) {
      MemorySegment from = MemorySegment.ofBuffer(encoded);
      MemorySegment to = MemorySegment.ofBuffer(plain);
      try {
        // Without a place for the number of bytes it insists on as many as there is room for.
        return 0
            == (int)
                Functions.DECOMPRESS.invokeExact(
                    context, from, from.byteSize(), to, to.byteSize(), MemorySegment.NULL);
      } catch (Throwable e) {
        throw NativeLibrary.unchecked(e);
      }
    }

    @Override
    public void close() {
      try {
        Functions.FREE_DECOMPRESSOR.invokeExact(context);
      } catch (Throwable e) {
        throw NativeLibrary.unchecked(e);
      }
    }
  }

  private static MemorySegment notNull(MemorySegment context) {
    if (context.address() == 0) {
      throw new OutOfMemoryError("libdeflate has no memory for a context");
    }
    return context;
  }

  /** Linked when first used. {@code size_t} has 64 bits, as on all that this JDK runs on. */
  private static final class Functions {
    /** Where macOS has what was installed; names alone would be looked for in any folder there. */
    private static final String[] ON_MACOS = {
      "/opt/homebrew/lib/libdeflate.0.dylib", "/usr/local/lib/libdeflate.0.dylib"
    };

    private static final NativeLibrary LIBRARY =
        System.getProperty("os.name", "").equals("Linux")
            ? NativeLibrary.load("libdeflate.so.0")
            : NativeLibrary.load(ON_MACOS);

    static final MethodHandle NEW_COMPRESSOR =
        LIBRARY.link("libdeflate_alloc_compressor", FunctionDescriptor.of(ADDRESS, JAVA_INT));
    static final MethodHandle COMPRESS =
        LIBRARY.link(
            "libdeflate_deflate_compress",
            FunctionDescriptor.of(JAVA_LONG, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS, JAVA_LONG));
    static final MethodHandle FREE_COMPRESSOR =
        LIBRARY.link("libdeflate_free_compressor", FunctionDescriptor.ofVoid(ADDRESS));
    static final MethodHandle NEW_DECOMPRESSOR =
        LIBRARY.link("libdeflate_alloc_decompressor", FunctionDescriptor.of(ADDRESS));
    static final MethodHandle DECOMPRESS =
        LIBRARY.link(
            "libdeflate_deflate_decompress",
            FunctionDescriptor.of(
                JAVA_INT, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS, JAVA_LONG, ADDRESS));
    static final MethodHandle FREE_DECOMPRESSOR =
        LIBRARY.link("libdeflate_free_decompressor", FunctionDescriptor.ofVoid(ADDRESS));
  }
}
