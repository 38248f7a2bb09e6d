package dev.imago.cli;

import org.jspecify.annotations.Nullable;

/**
 * What QEMU calls an image that block drivers make up: the name of its file if that says all, else
 * {@code json:{…}} with the drivers and their options.
 *
 * @param exact a name that says all, or null
 * @param full the drivers and their options
 */
record NodeName(@Nullable String exact, Dict full) {

  /**
   * The name.
   *
   * @param options are used up
   * @param format of the image, if the options name none
   * @param typed whether numbers and switches were given as such, in JSON
   */
  static String of(BlockOptions options, String format, boolean typed) {
    NodeName name = read(options, format, typed);
    if (name.exact != null) {
      return name.exact;
    }
    StringBuilder text = new StringBuilder("json:");
    Json.appendLine(text, name.full);
    return text.toString();
  }

  private static NodeName read(BlockOptions options, String usual, boolean typed) {
    String named = options.take("driver");
    String driver = named == null ? usual : named;
    Dict full = new Dict().put("driver", driver);
    return switch (driver) {
      case "file", "host_device" -> {
        String file = options.take("filename");
        yield new NodeName(file, full.put("filename", file == null ? "" : file));
      }
      case "null-co", "null-aio" -> {
        boolean plain = options.isEmpty();
        putAll(options, full, typed);
        yield new NodeName(plain ? driver + "://" : null, full);
      }
      case "nbd" -> {
        putAll(options, full, typed);
        yield new NodeName(null, full);
      }
      case "blkdebug" -> blkdebug(options, full, typed);
      case "compress", "copy-on-read" -> {
        full.put("file", read(options.takeBelow("file."), "file", typed).full);
        yield new NodeName(null, full);
      }
      case "throttle" -> {
        full.put("file", read(options.takeBelow("file."), "file", typed).full);
        putIfThere(options, "throttle-group", full, typed);
        yield new NodeName(null, full);
      }
      default -> format(options, full, typed);
    };
  }

  private static NodeName blkdebug(BlockOptions options, Dict full, boolean typed) {
    NodeName image = read(options.takeBelow("image."), "file", typed);
    String config = options.take("config");
    boolean plain = options.isEmpty() && image.exact != null;
    full.put("image", image.full);
    if (config != null) {
      full.put("config", config);
    }
    putAll(options, full, typed);
    String exact = "blkdebug:" + (config == null ? "" : config) + ":" + image.exact;
    return new NodeName(plain ? exact : null, full);
  }

  private static NodeName format(BlockOptions options, Dict full, boolean typed) {
    BlockOptions below = options.takeBelow("file.");
    String driver = below.copy().take("driver");
    String name = options.take("filename");
    NodeName file =
        name == null
            ? read(below, "file", typed)
            : new NodeName(name, new Dict().put("driver", "file").put("filename", name));
    boolean part = putIfThere(options, "offset", full, typed);
    part |= putIfThere(options, "size", full, typed);
    full.put("file", file.full);
    boolean all = !part && (driver == null || BlockNodes.isProtocol(driver));
    return new NodeName(all ? file.exact : null, full);
  }

  private static boolean putIfThere(BlockOptions from, String name, Dict full, boolean typed) {
    String value = from.take(name);
    if (value == null) {
      return false;
    }
    full.put(name, value(value, typed));
    return true;
  }

  private static void putAll(BlockOptions from, Dict full, boolean typed) {
    for (String name : from.names()) {
      putIfThere(from, name, full, typed);
    }
  }

  private static Object value(String text, boolean typed) {
    if (!typed) {
      return text;
    }
    if (text.matches("-?[0-9]{1,18}")) {
      return Long.valueOf(text);
    }
    return switch (text) {
      case "on" -> true;
      case "off" -> false;
      default -> text;
    };
  }
}
