package dev.imago.internal;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;

/** A library that the system may have, through the foreign-function API. */
final class NativeLibrary {
  private final SymbolLookup symbols;

  private NativeLibrary(SymbolLookup symbols) {
    this.symbols = symbols;
  }

  /**
   * Loads the first of these that there is, for good.
   *
   * @throws LinkageError if there is none, or if foreign functions may not be called
   */
  @SuppressWarnings("restricted")
  static NativeLibrary load(String... names) {
    IllegalArgumentException none = null;
    for (String name : names) {
      try {
        return new NativeLibrary(SymbolLookup.libraryLookup(name, Arena.global()));
      } catch (IllegalArgumentException e) {
        none = none == null ? e : none;
      }
    }
    throw new UnsatisfiedLinkError("no library: " + none);
  }

  /**
   * Links one of its functions.
   *
   * @throws LinkageError if it has none of that name
   */
  @SuppressWarnings("restricted")
  MethodHandle link(String name, FunctionDescriptor descriptor) {
    MemorySegment function =
        symbols.find(name).orElseThrow(() -> new UnsatisfiedLinkError("no " + name));
    return Linker.nativeLinker().downcallHandle(function, descriptor);
  }

  /** What a call of a linked function has thrown, for {@code throw}: no checked exceptions. */
  static Error unchecked(Throwable e) {
    if (e instanceof RuntimeException unchecked) {
      throw unchecked;
    }
    return e instanceof Error error ? error : new AssertionError(e);
  }
}
