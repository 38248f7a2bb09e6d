package dev.imago.cli;

import dev.imago.Images;
import dev.imago.OpenOptions;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * An image as it is named on the command line: by its file name, or with {@code --image-opts} by
 * {@code driver=qcow2,file.filename=…,encrypt.key-secret=…,lazy-refcounts=on}.
 *
 * @param name of its file; as typed it is the whole list of options
 * @param format the format's name, or null to probe; of block drivers only whether one is named
 * @param keys of the secrets for the image, its backing image and so on; each may be null
 * @param lazyRefcounts whether its reference counts may be written late; null if it says so itself
 */
record Source(
    FileName name,
    @Nullable String format,
    List<@Nullable String> keys,
    @Nullable Boolean lazyRefcounts) {
  private static final String BACKING = "backing.";

  /** Options that a path and a format can stand for. */
  private static final Set<String> PLAIN =
      Set.of("driver", "filename", "file.driver", "file.filename");

  /** A file name. */
  static Source ofName(String operand, @Nullable String format) {
    return new Source(FileName.of(operand), format, List.of(), null);
  }

  /**
   * An operand of a command.
   *
   * @param imageOpts whether it is a list of options
   */
  static Source of(String operand, boolean imageOpts, @Nullable String format) throws Failure {
    if (imageOpts && format != null) {
      throw new Failure("--image-opts and --format are mutually exclusive");
    }
    try {
      return imageOpts ? parse(operand) : named(operand, format);
    } catch (Failure e) {
      throw new Failure("Could not open '" + operand + "': " + e.getMessage(), 1, e);
    }
  }

  /**
   * A name of any kind.
   *
   * @throws Failure in QEMU's words, without {@code Could not open}
   */
  static Source named(String operand, @Nullable String format) throws Failure {
    Source source = ofProtocol(operand, format);
    return source != null ? source : ofName(operand, format);
  }

  /**
   * A list of options.
   *
   * @throws Failure in QEMU's words, without {@code Could not open}
   */
  static Source parse(String operand) throws Failure {
    if (operand.indexOf('=') < 0) {
      throw new Failure("Cannot find device='" + operand + "' nor node-name='" + operand + "'");
    }
    Map<String, String> options = new LinkedHashMap<>();
    for (OptionList.Pair pair : OptionList.pairs(operand)) {
      options.put(pair.name(), pair.value());
    }
    return of(operand, options);
  }

  /** A name that is more than a file's: {@code json:{…}}, {@code nbd:…}, {@code blkdebug:…}. */
  private static @Nullable Source ofProtocol(String operand, @Nullable String format)
      throws Failure {
    Map<String, String> options = new LinkedHashMap<>();
    if (operand.startsWith("json:")) {
      if (Safety.on()) {
        throw new Failure("refused by --safe: a json: name can name anything");
      }
      JsonReader.read(operand.substring("json:".length()), options);
      if (format != null && options.putIfAbsent("driver", format) != null) {
        throw new Failure("Driver specified twice");
      }
    } else if (Exports.isOne(operand)) {
      Exports.describe(operand, format, options);
    } else if (operand.startsWith("blkdebug:")) {
      String rest = operand.substring("blkdebug:".length());
      int colon = rest.indexOf(':');
      if (colon < 0) {
        throw new Failure("blkdebug: there is no colon before the image's name");
      }
      if (format != null) {
        options.put("driver", format);
      }
      options.put("file.driver", "blkdebug");
      options.put("file.config", rest.substring(0, colon));
      options.put("file.image.filename", rest.substring(colon + 1));
    } else {
      return null;
    }
    return of(operand, options);
  }

  /**
   * An image that options describe.
   *
   * @param typed what the user wrote
   */
  private static Source of(String typed, Map<String, String> options) throws Failure {
    List<@Nullable String> keys = takeKeys(options);
    String lazy = options.remove("lazy-refcounts");
    Boolean lazyRefcounts = lazy == null ? null : OptionList.isOn("lazy-refcounts", lazy);
    if (isMoreThanAFile(options)) {
      if (Safety.on()) {
        throw new Failure("refused by --safe: it opens files, and no other block drivers");
      }
      requireLazy(lazyRefcounts, options.get("driver"));
      String format = options.get("driver");
      if (format != null && !Images.formats().contains(format)) {
        format = "raw"; // nothing is probed above a driver that is no format
      }
      return new Source(
          new FileName(typed, "", new BlockOptions(options)), format, keys, lazyRefcounts);
    }
    String driver = options.remove("driver");
    String fileDriver = options.remove("file.driver");
    boolean fileNamed = fileDriver != null || options.containsKey("file.filename");
    if (fileDriver != null) {
      requireFile(fileDriver);
    }
    String named = options.remove("filename");
    String file = options.getOrDefault("file.filename", named);
    options.remove("file.filename");
    if (driver == null && !fileNamed) {
      throw new Failure("Must specify either driver or file");
    }
    if (file == null || !fileNamed) {
      throw new Failure(
          fileNamed
              ? "The 'file' block driver requires a file name"
              : "A block device must be specified for \"file\"");
    }
    requireLazy(lazyRefcounts, driver);
    FileName name = new FileName(typed, file);
    if ("host_device".equals(fileDriver)) {
      name.requireDevice();
    }
    return new Source(name, driver, keys, lazyRefcounts);
  }

  /** Late counts are an option of one format alone. */
  private static void requireLazy(@Nullable Boolean lazy, @Nullable String driver) throws Failure {
    if (lazy != null && driver != null && !driver.equals("qcow2")) {
      throw new Failure(
          "Block format '" + driver + "' does not support the option 'lazy-refcounts'");
    }
  }

  /** Takes the names of secrets out; those of an image's backing image follow its own. */
  private static List<@Nullable String> takeKeys(Map<String, String> options) throws Failure {
    List<@Nullable String> keys = new ArrayList<>();
    for (String name : List.copyOf(options.keySet())) {
      int depth = 0;
      String key = name;
      while (key.startsWith(BACKING)) {
        key = key.substring(BACKING.length());
        depth++;
      }
      String value = options.get(name);
      if (key.equals("encrypt.key-secret")) {
        while (keys.size() <= depth) {
          keys.add(null);
        }
        keys.set(depth, value);
        options.remove(name);
      } else if (depth > 0) {
        throw new Failure("Parameter '" + name + "' is not supported here");
      } else if (key.equals("encrypt.format")) {
        if (!"luks".equals(value) && !"aes".equals(value)) {
          throw new Failure("Parameter 'encrypt.format' does not accept value '" + value + "'");
        }
        options.remove(name);
      }
    }
    return keys;
  }

  /** Whether drivers are named that no path can stand for. */
  private static boolean isMoreThanAFile(Map<String, String> options) {
    String driver = options.getOrDefault("driver", "");
    return isFilter(driver)
        || driver.equals("file")
        || driver.equals("host_device")
        || isFilter(options.getOrDefault("file.driver", ""))
        || !PLAIN.containsAll(options.keySet());
  }

  private static boolean isFilter(String driver) {
    return switch (driver) {
      case "blkdebug", "nbd", "null-co", "null-aio", "copy-on-read", "compress", "throttle" -> true;
      default -> false;
    };
  }

  private static void requireFile(String driver) throws Failure {
    if (!driver.equals("file") && !driver.equals("host_device")) {
      throw new Failure("Unknown driver '" + driver + "'");
    }
  }

  /** Adds the keys to how the image is opened. */
  OpenOptions keys(OpenOptions options, Secrets secrets) throws Failure {
    OpenOptions changed = options;
    for (int depth = 0; depth < keys.size(); depth++) {
      String id = keys.get(depth);
      if (id != null) {
        try {
          changed = changed.key(depth, secrets.require(id));
        } catch (Failure e) {
          throw new Failure(
              "Could not open '" + name.typed() + "': " + e.getMessage(), e.exitCode(), e);
        }
      }
    }
    return changed;
  }

  /** How this image is opened, with its keys; what it names inside itself is opened too. */
  OpenOptions options(Secrets secrets) throws Failure {
    OpenOptions options = Opening.options(format).lazyRefcounts(lazyRefcounts);
    return keys(Safety.on() ? options : options.resolver(new Exports(secrets)), secrets);
  }
}
