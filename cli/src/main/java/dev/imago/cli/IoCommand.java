package dev.imago.cli;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * {@code io}, which is also this program called {@code qemu-io}: reads and writes an image by
 * commands, given with {@code -c} or line by line on standard input.
 */
final class IoCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.flag('V', "version"),
    new Option('c', "cmd", true),
    new Option('f', "format", true),
    Option.flag('r', "read-only"),
    Option.flag('s', "snapshot"),
    Option.flag('n', "nocache"),
    Option.flag('C', "copy-on-read"),
    Option.flag('m', "misalign"),
    Option.flag('k', "native-aio"),
    new Option('i', "aio", true),
    new Option('t', "cache", true),
    new Option('d', "discard", true),
    new Option('T', "trace", true),
    Option.flag('U', "force-share"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private final Terminal terminal;
  private final List<String> commands = new ArrayList<>();
  private @Nullable String format;
  private @Nullable String aio;
  private @Nullable String discard;
  private String cache = "writeback";
  private boolean readOnly;
  private boolean snapshot;
  private boolean copyOnRead;
  private boolean forceShare;
  private boolean imageOpts;

  private IoCommand(Terminal terminal) {
    this.terminal = terminal;
  }

  static int run(Terminal terminal, String[] args) throws UsageException, Failure {
    return new IoCommand(terminal).run(args);
  }

  private int run(String[] args) throws UsageException, Failure {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    for (String option = options.next(); option != null; option = options.next()) {
      if (option.equals("help")) {
        return Help.command(terminal, "io");
      }
      if (option.equals("version")) {
        terminal.print(Main.version(terminal));
        return 0;
      }
      take(option, options.value());
    }
    if (options.operands().size() > 1) {
      throw new UsageException("Expecting at most one image file name");
    }
    if (imageOpts && format != null) {
      throw new Failure("--image-opts and -f are mutually exclusive");
    }
    IoSession io = new IoSession(terminal);
    if (!options.operands().isEmpty()) {
      io.open(target(options.operands().getFirst()));
    }
    boolean right = commands.isEmpty() ? interact(io) : obey(io);
    try {
      io.close();
    } catch (IOException e) {
      terminal.error(Errors.text(e));
      right = false;
    }
    return right ? 0 : 1;
  }

  private void take(String option, String value) throws Failure {
    switch (option) {
      case "cmd" -> commands.add(value);
      case "format" -> format = value;
      case "read-only" -> readOnly = true;
      case "snapshot" -> snapshot = true;
      case "nocache" -> cache = "none";
      case "copy-on-read" -> copyOnRead = true;
      case "native-aio" -> aio = "native";
      case "aio" -> {
        IoOpen.needsDirect(value);
        aio = value;
      }
      case "cache" -> {
        CacheMode.target(value);
        cache = value;
      }
      case "discard" -> {
        IoOpen.discards(value);
        discard = value;
      }
      case "trace" -> Tracing.accept(terminal, value);
      case "force-share" -> forceShare = true;
      case "object" -> terminal.secrets().add(value);
      case "image-opts" -> imageOpts = true;
      // Buffers have no alignment here that could be wrong.
      case "misalign" -> {}
      default -> throw GetOpt.notSupported(option);
    }
  }

  private IoTarget target(String operand) throws Failure {
    CacheMode mode = CacheMode.target(cache);
    IoOpen.requireDirect(operand, IoOpen.needsDirect(aio), mode);
    return new IoTarget(
        imageOpts ? listed(operand) : named(operand),
        readOnly,
        snapshot,
        mode,
        IoTarget.writesThrough(cache),
        IoOpen.discards(discard),
        forceShare,
        copyOnRead,
        null);
  }

  private Source named(String operand) throws Failure {
    try {
      return Source.named(operand, format);
    } catch (Failure e) {
      throw new Failure("can't open device " + operand + ": " + e.getMessage(), 1, e);
    }
  }

  private static Source listed(String operand) throws Failure {
    try {
      return Source.parse(operand);
    } catch (Failure e) {
      throw new Failure("can't open: " + e.getMessage(), 1, e);
    }
  }

  private boolean obey(IoSession io) {
    boolean right = true;
    for (String command : commands) {
      right &= io.run(command);
      if (io.ended()) {
        break;
      }
    }
    return right;
  }

  /** Asks for one line after the other; the prompt stands there even if nobody sees it. */
  private boolean interact(IoSession io) throws Failure {
    boolean right = true;
    try (var in =
        new BufferedReader(new InputStreamReader(terminal.in(), StandardCharsets.UTF_8))) {
      while (!io.ended()) {
        terminal.print(terminal.program() + "> ");
        terminal.out().flush();
        terminal.err().flush();
        String line = in.readLine();
        if (line == null) {
          break;
        }
        right &= io.run(line);
      }
    } catch (IOException e) {
      throw new Failure("standard input: " + Errors.text(e), 1, e);
    }
    return right;
  }
}
