package dev.imago.internal;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.ref.Reference;

/**
 * One system call, on either of two ways: through the foreign-function API, or, where the property
 * {@code imago.syscalls} names the little library that the launcher made, through JNI. Both do the
 * same; the first costs 20 ms more at start-up, because the JVM spins thirty classes for it.
 *
 * <p>Answers as the kernel does: a result of at least 0, or the negated errno.
 */
final class Syscall {
  private static final boolean LIBRARY = load(System.getProperty("imago.syscalls", ""));

  private Syscall() {}

  @SuppressWarnings("restricted")
  private static boolean load(String path) {
    if (path.isEmpty()) {
      return false;
    }
    try {
      System.load(path);
      return true;
    } catch (UnsatisfiedLinkError e) {
      return false; // made for another system, or gone: there is the other way
    }
  }

  /**
   * Calls the kernel.
   *
   * @param memory its address is the second argument; stays reachable meanwhile
   */
  static long call(int number, long first, MemorySegment memory, long c, long d, long e, long f) {
    if (LIBRARY) {
      if (!memory.scope().isAlive()) {
        throw new IllegalStateException("the buffer's arena is closed");
      }
      try {
        return call(number, first, memory.address(), c, d, e, f);
      } finally {
        Reference.reachabilityFence(memory);
      }
    }
    return Foreign.call(number, first, memory, c, d, e, f);
  }

  private static native long call(long n, long a, long b, long c, long d, long e, long f);

  /** Linked when first used. */
  private static final class Foreign {
    @SuppressWarnings("restricted")
    private static final MethodHandle HANDLE =
        Linker.nativeLinker()
            .downcallHandle(
                Linker.nativeLinker().defaultLookup().findOrThrow("syscall"),
                FunctionDescriptor.of(
                    ValueLayout.JAVA_LONG,
                    ValueLayout.JAVA_LONG,
                    ValueLayout.JAVA_LONG,
                    ValueLayout.ADDRESS,
                    ValueLayout.JAVA_LONG,
                    ValueLayout.JAVA_LONG,
                    ValueLayout.JAVA_LONG,
                    ValueLayout.JAVA_LONG),
                Linker.Option.firstVariadicArg(1),
                Linker.Option.captureCallState("errno"));

    private static final ThreadLocal<MemorySegment> ERRNO =
        ThreadLocal.withInitial(() -> Arena.ofAuto().allocate(Linker.Option.captureStateLayout()));

    static long call(int number, long a, MemorySegment b, long c, long d, long e, long f) {
      MemorySegment errno = ERRNO.get();
      long r;
      try {
        r = (long) HANDLE.invokeExact(errno, (long) number, a, b, c, d, e, f);
      } catch (RuntimeException | Error x) {
        throw x;
      } catch (Throwable x) {
        throw new AssertionError(x);
      }
      return r == -1 ? -errno.get(ValueLayout.JAVA_INT, 0) : r;
    }
  }
}
