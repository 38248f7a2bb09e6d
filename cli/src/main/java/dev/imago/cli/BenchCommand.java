package dev.imago.cli;

import dev.imago.Bench;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import java.io.EOFException;
import java.io.IOException;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** {@code bench}: how fast an image serves many requests of one kind. */
final class BenchCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('c'),
    Option.value('d'),
    Option.value('f'),
    Option.value("flush-interval"),
    Option.value('i'),
    Option.flag('n'),
    Option.flag("no-drain"),
    Option.value('o'),
    Option.value("pattern"),
    Option.flag('q'),
    Option.value('s'),
    Option.value('S'),
    Option.value('t'),
    Option.flag('w'),
    Option.flag('U', "force-share"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private final Terminal terminal;
  private @Nullable String format;
  private String cache = "writeback";
  private boolean nativeIo;
  private boolean forceShare;
  private boolean imageOpts;
  private boolean write;
  private boolean drain = true;
  private int count = 75_000;
  private int depth = 64;
  private int flushInterval;
  private int length = 4096;
  private int step;
  private int pattern;
  private long start;

  private BenchCommand(Terminal terminal) {
    this.terminal = terminal;
  }

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    BenchCommand command = new BenchCommand(terminal);
    for (String option = options.next(); option != null; option = options.next()) {
      if (option.equals("help")) {
        return Help.command(terminal, "bench");
      }
      command.take(option, options.value());
    }
    FileName one = options.onlyFile();
    command.requireSense();
    command.run(Source.of(one.typed(), command.imageOpts, command.format));
    return 0;
  }

  private void take(String option, String value) throws Failure {
    switch (option) {
      case "c" -> count = number("request count", value, 0, Integer.MAX_VALUE);
      case "d" -> depth = number("queue depth", value, 1, Integer.MAX_VALUE);
      case "f" -> format = value;
      case "flush-interval" ->
          flushInterval = number("flush interval", value, 0, Integer.MAX_VALUE);
      case "i" -> nativeIo = asynchronous(value);
      case "n" -> nativeIo = true;
      case "no-drain" -> drain = false;
      case "o" -> start = Size.require(terminal, "offset", value, 0, Long.MAX_VALUE);
      case "pattern" -> pattern = number("pattern byte", value, 0, 255);
      // qemu-img tells the same with it as without.
      case "q" -> {}
      case "s" -> length = (int) Size.require(terminal, "buffer size", value, 0, Integer.MAX_VALUE);
      case "S" -> step = (int) Size.require(terminal, "step_size", value, 0, Integer.MAX_VALUE);
      case "t" -> cache = knownCache(value);
      case "w" -> write = true;
      case "force-share" -> forceShare = true;
      case "object" -> terminal.secrets().add(value);
      default -> imageOpts = true;
    }
  }

  private static int number(String noun, String text, int least, int most) throws Failure {
    try {
      boolean hex = text.startsWith("0x") || text.startsWith("0X");
      long value = hex ? Long.parseLong(text, 2, text.length(), 16) : Long.parseLong(text);
      if (value >= least && value <= most) {
        return (int) value;
      }
    } catch (NumberFormatException e) {
      // Told below, as a number that is out of range.
    }
    throw new Failure("Invalid " + noun + " specified");
  }

  /** Whether requests are to go by the kernel's own asynchronous I/O. */
  private static boolean asynchronous(String word) throws Failure {
    return switch (word) {
      case "native" -> true;
      case "threads", "io_uring" -> false;
      default -> throw new Failure("Invalid aio option: " + word);
    };
  }

  private static String knownCache(String word) throws Failure {
    if (CacheMode.of(word) == null) {
      throw new Failure("Invalid cache mode");
    }
    return word;
  }

  private void requireSense() throws Failure {
    if (!write && flushInterval != 0) {
      throw new Failure("--flush-interval is only available in write tests");
    }
    if (flushInterval != 0 && flushInterval < depth) {
      throw new Failure("Flush interval can't be smaller than depth");
    }
  }

  private void run(Source source) throws Exception {
    FileName name = source.name();
    CacheMode mode = CacheMode.target(cache);
    Opening.requireLocks(name, write, forceShare);
    if (nativeIo && !mode.direct()) {
      throw new Failure(
          "Could not open '"
              + name.typed()
              + "': aio=native was specified, but it requires cache.direct=on, which was not"
              + " specified.");
    }
    OpenOptions how =
        source
            .options(terminal.secrets())
            .writable(write)
            .direct(mode.direct())
            .sync(mode.sync())
            .forceShare(forceShare);
    try (Image image = Opening.image(name, how)) {
      if (write && source.format() == null && image.format().equals("raw")) {
        Opening.warnOfProbing(terminal, name);
      }
      announce();
      long nanos = measure(image);
      terminal.line(String.format(Locale.ROOT, "Run completed in %3.3f seconds.", nanos / 1e9));
    }
  }

  private void announce() {
    terminal.line(
        "Sending %d %s requests, %d bytes each, %d in parallel (starting at offset %d, step size %d)"
            .formatted(
                count, write ? "write" : "read", length, depth, start, step == 0 ? length : step));
    if (flushInterval > 0) {
      terminal.line("Sending flush every " + flushInterval + " requests");
    }
    terminal.out().flush();
  }

  private long measure(Image image) throws Failure {
    // These modes keep each write by itself; a flush before the next one is what that means.
    boolean through = cache.equals("writethrough") || cache.equals("directsync");
    Bench bench =
        (write ? Bench.writes(pattern) : Bench.reads())
            .count(count)
            .depth(depth)
            .start(start)
            .length(length)
            .step(step);
    if (write) {
      bench = through ? bench.flushEvery(1, false) : bench.flushEvery(flushInterval, drain);
    }
    try {
      return bench.run(image);
    } catch (EOFException e) {
      throw new Failure("Failed request: Input/output error", 1, e);
    } catch (IOException e) {
      throw new Failure("Failed request: " + Errors.text(e), 1, e);
    }
  }
}
