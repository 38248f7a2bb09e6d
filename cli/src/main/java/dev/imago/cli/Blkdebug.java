package dev.imago.cli;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.imago.filter.FaultRule;
import dev.imago.filter.FaultRule.Request;
import dev.imago.filter.FaultStorage.Limits;
import dev.imago.storage.BlockEvent;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Reads the options of QEMU's {@code blkdebug}, and its file of rules. */
final class Blkdebug {
  private static final int MAX_FILE = 1 << 20;

  private Blkdebug() {}

  /** What the options say. */
  record Parsed(List<FaultRule> rules, Limits limits) {}

  /** Takes everything but the image out of the options. */
  static Parsed parse(BlockOptions options) throws Failure {
    List<FaultRule> rules = new ArrayList<>();
    String config = options.take("config");
    if (config != null && !config.isEmpty()) {
      readFile(config, rules);
    }
    for (int i = 0; ; i++) {
      BlockOptions inject = options.takeBelow("inject-error." + i + ".");
      if (inject.isEmpty()) {
        break;
      }
      rules.add(inject(inject));
    }
    for (int i = 0; ; i++) {
      BlockOptions set = options.takeBelow("set-state." + i + ".");
      if (set.isEmpty()) {
        break;
      }
      rules.add(setState(set));
    }
    return new Parsed(rules, limits(options));
  }

  private static Limits limits(BlockOptions options) throws Failure {
    long align = options.takeSize("align", 0);
    if (align >= Integer.MAX_VALUE || (align & (align - 1)) != 0) {
      throw new Failure("Cannot meet constraints with align " + align);
    }
    long unit = Math.max(align, 1);
    return new Limits(
        (int) align,
        (int) limit(options, "max-transfer", unit),
        limit(options, "opt-write-zero", unit),
        limit(options, "max-write-zero", unit),
        limit(options, "opt-discard", unit),
        limit(options, "max-discard", unit));
  }

  private static long limit(BlockOptions options, String name, long unit) throws Failure {
    long limit = options.takeSize(name, 0);
    if (limit < 0 || limit >= Integer.MAX_VALUE || limit % unit != 0) {
      throw new Failure("Cannot meet constraints with " + name + " " + limit);
    }
    return limit;
  }

  private static BlockEvent event(BlockOptions options) throws Failure {
    String word = options.take("event");
    if (word == null) {
      throw new Failure("Missing event name for rule");
    }
    BlockEvent event = BlockEvent.of(word);
    if (event == null) {
      throw new Failure("invalid parameter value: " + word);
    }
    return event;
  }

  private static FaultRule inject(BlockOptions options) throws Failure {
    BlockEvent event = event(options);
    int state = (int) options.takeSize("state", 0);
    String kind = options.take("iotype");
    Set<Request> requests =
        switch (kind) {
          case null -> Set.of(Request.values());
          case "read" -> Set.of(Request.READ);
          case "write" -> Set.of(Request.WRITE);
          case "write-zeroes" -> Set.of(Request.WRITE_ZEROES);
          case "discard" -> Set.of(Request.DISCARD);
          case "flush" -> Set.of(Request.FLUSH);
          case "block-status" -> Set.of();
          default -> throw new Failure("invalid parameter value: " + kind);
        };
    int errno = (int) options.takeSize("errno", 5);
    String sector = options.take("sector");
    long at = sector == null || sector.equals("-1") ? -1 : Size.parameter("sector", sector).bytes();
    boolean once = options.takeSwitch("once", false);
    // Nothing is ever injected later than at once here.
    options.takeSwitch("immediately", false);
    options.requireAllTaken("protocol", "blkdebug");
    return new FaultRule.Inject(event, state, requests, errno, at, once);
  }

  private static FaultRule setState(BlockOptions options) throws Failure {
    BlockEvent event = event(options);
    int state = (int) options.takeSize("state", 0);
    int newState = (int) options.takeSize("new_state", 0);
    options.requireAllTaken("protocol", "blkdebug");
    return new FaultRule.SetState(event, state, newState);
  }

  /** Sections {@code [inject-error]} and {@code [set-state]} of lines {@code name = "value"}. */
  private static void readFile(String name, List<FaultRule> rules) throws Failure {
    String text;
    try {
      byte[] bytes;
      try (InputStream in = Files.newInputStream(Path.of(name))) {
        bytes = in.readNBytes(MAX_FILE + 1); // a device has no size that one could ask for
      }
      if (bytes.length > MAX_FILE) {
        throw new Failure("Could not read blkdebug config file: it is longer than 1 MiB");
      }
      text = new String(bytes, UTF_8);
    } catch (IOException | InvalidPathException e) {
      String why = e instanceof IOException io ? Errors.text(io) : "Invalid argument";
      throw new Failure("Could not read blkdebug config file: " + why, 1, e);
    }
    String section = "";
    Map<String, String> options = new LinkedHashMap<>();
    int number = 0;
    for (String line : text.split("\n", -1)) {
      number++;
      String trimmed = line.trim();
      int equals = trimmed.indexOf('=');
      if (trimmed.isEmpty() || trimmed.startsWith("#")) {
        continue;
      }
      if (trimmed.startsWith("[") && trimmed.endsWith("]")) {
        add(section, options, rules);
        options = new LinkedHashMap<>();
        section = trimmed.substring(1, trimmed.length() - 1).trim();
      } else if (equals > 0 && !section.isEmpty()) {
        String value = trimmed.substring(equals + 1).trim();
        boolean quoted = value.length() > 1 && value.startsWith("\"") && value.endsWith("\"");
        options.put(
            trimmed.substring(0, equals).trim(),
            quoted ? value.substring(1, value.length() - 1) : value);
      } else {
        throw new Failure(
            "Could not parse blkdebug config file: " + name + ":" + number + ": parse error");
      }
    }
    add(section, options, rules);
  }

  private static void add(String section, Map<String, String> options, List<FaultRule> rules)
      throws Failure {
    switch (section) {
      case "" -> {}
      case "inject-error" -> rules.add(inject(new BlockOptions(options)));
      case "set-state" -> rules.add(setState(new BlockOptions(options)));
      default ->
          throw new Failure(
              "Could not parse blkdebug config file: there is no group '" + section + "'");
    }
  }
}
