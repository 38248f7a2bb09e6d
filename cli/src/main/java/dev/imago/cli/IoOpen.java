package dev.imago.cli;

import java.io.IOException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Commands of {@code io} that open and close, and the options for it. */
final class IoOpen {
  private IoOpen() {}

  /** {@code open} */
  static void open(IoSession io, IoArguments arguments) throws IoFailure, Failure {
    arguments.parse("Cd:i:knro:st:U");
    List<String> operands = arguments.operands(0, 1);
    String cache = arguments.value('t');
    if (cache == null) {
      cache = arguments.has('n') ? "none" : "writeback";
    }
    CacheMode mode = CacheMode.target(cache);
    boolean discards = discards(arguments.value('d'));
    boolean direct = needsDirect(arguments.has('k') ? "native" : arguments.value('i'));
    if (io.isOpen()) {
      throw new Failure("file open already, try 'help close'");
    }
    String path = operands.isEmpty() ? null : operands.getFirst();
    requireDirect(path, direct, mode);
    io.open(
        new IoTarget(
            source(path, arguments.value('o')),
            arguments.has('r'),
            arguments.has('s'),
            mode,
            IoTarget.writesThrough(cache),
            discards,
            arguments.has('U'),
            arguments.has('C'),
            null));
  }

  private static @Nullable Source source(@Nullable String path, @Nullable String options)
      throws Failure {
    if (options == null) {
      try {
        return path == null ? null : Source.named(path, null);
      } catch (Failure e) {
        throw new Failure("can't open device " + path + ": " + e.getMessage(), 1, e);
      }
    }
    String file = path == null ? "" : ",file.filename=" + OptionList.quote(path);
    try {
      Source source = Source.parse(options + file);
      return path == null
          ? source
          : new Source(
              new FileName(path, path, source.name().nodes()),
              source.format(),
              source.keys(),
              source.lazyRefcounts());
    } catch (Failure e) {
      String what = path == null ? "can't open: " : "can't open device " + path + ": ";
      throw new Failure(what + e.getMessage(), 1, e);
    }
  }

  /** Whether a discard mode gives space back; it does unless it is said otherwise. */
  static boolean discards(@Nullable String mode) throws Failure {
    return switch (mode) {
      case null -> true;
      case "unmap", "on" -> true;
      case "ignore", "off" -> false;
      default -> throw new Failure("Invalid discard option: " + mode);
    };
  }

  /** Whether a way to do I/O, of which there is only one here, asks for -n in QEMU. */
  static boolean needsDirect(@Nullable String mode) throws Failure {
    return switch (mode) {
      case null -> false;
      case "threads", "io_uring" -> false;
      case "native" -> true;
      default -> throw new Failure("Invalid aio option: " + mode);
    };
  }

  /** Refuses QEMU's native I/O through the host's cache. */
  static void requireDirect(@Nullable String path, boolean needed, CacheMode mode) throws Failure {
    if (needed && !mode.direct()) {
      throw new Failure(
          "can't open device "
              + path
              + ": aio=native was specified, but it requires cache.direct=on, which was not"
              + " specified.");
    }
  }

  /** {@code close} */
  static void close(IoSession io, IoArguments arguments) throws IoFailure, IOException {
    io.close();
  }

  /** {@code reopen} */
  static void reopen(IoSession io, IoArguments arguments) throws IoFailure, Failure, IOException {
    arguments.parse("c:o:rw").operands(0, 0);
    IoTarget old = io.target();
    IoTarget changed = old;
    String cache = arguments.value('c');
    if (cache != null) {
      changed = changed.withCache(cache);
    }
    if (arguments.has('r') && arguments.has('w')) {
      throw new Failure("Only one -r/-w option may be given");
    }
    if (arguments.has('r') || arguments.has('w')) {
      changed = changed.withReadOnly(arguments.has('r'));
    }
    String options = arguments.value('o');
    if (options != null) {
      changed = withOptions(changed, options);
    }
    if (changed.equals(old)) {
      io.requests().await();
      return;
    }
    io.reopen(changed);
  }

  private static IoTarget withOptions(IoTarget target, String options) throws Failure {
    IoTarget changed = target;
    for (OptionList.Pair pair : OptionList.pairs(options)) {
      boolean on = pair.value().equals("on");
      if (pair.name().equals("read-only")) {
        changed = changed.withReadOnly(on);
      } else if (pair.name().equals("lazy-refcounts")) {
        changed = changed.withLazyRefcounts(on);
      } else {
        throw new Failure("Cannot change the option '" + pair.name() + "'");
      }
    }
    return changed;
  }
}
