package dev.imago.cli;

import dev.imago.OpenOptions;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * An image as it is named on the command line: by its file name, or with {@code --image-opts} by
 * {@code driver=qcow2,file.filename=…,encrypt.key-secret=…,lazy-refcounts=on}.
 *
 * @param name of its file; as typed it is the whole list of options
 * @param format the format's name, or null to probe
 * @param keys of the secrets for the image, its backing image and so on; each may be null
 * @param lazyRefcounts whether its reference counts may be written late; null if it says so itself
 */
record Source(
    FileName name,
    @Nullable String format,
    List<@Nullable String> keys,
    @Nullable Boolean lazyRefcounts) {
  private static final String BACKING = "backing.";

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
    if (!imageOpts) {
      return ofName(operand, format);
    }
    if (format != null) {
      throw new Failure("--image-opts and --format are mutually exclusive");
    }
    try {
      return parse(operand);
    } catch (Failure e) {
      throw new Failure("Could not open '" + operand + "': " + e.getMessage(), 1, e);
    }
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
    String driver = null;
    String file = null;
    boolean fileNamed = false;
    List<@Nullable String> keys = new ArrayList<>();
    Boolean lazyRefcounts = null;
    for (OptionList.Pair pair : OptionList.pairs(operand)) {
      String value = pair.value();
      int depth = 0;
      String key = pair.name();
      while (key.startsWith(BACKING)) {
        key = key.substring(BACKING.length());
        depth++;
      }
      if (key.equals("encrypt.key-secret")) {
        while (keys.size() <= depth) {
          keys.add(null);
        }
        keys.set(depth, value);
        continue;
      }
      if (depth > 0) {
        throw new Failure("Parameter '" + pair.name() + "' is not supported here");
      }
      switch (key) {
        case "driver" -> driver = value;
        case "file.filename", "filename" -> {
          file = value;
          fileNamed |= key.startsWith("file.");
        }
        case "file.driver" -> {
          requireFile(value);
          fileNamed = true;
        }
        case "lazy-refcounts" -> lazyRefcounts = OptionList.isOn(key, value);
        case "encrypt.format" -> {
          if (!value.equals("luks") && !value.equals("aes")) {
            throw new Failure("Parameter 'encrypt.format' does not accept value '" + value + "'");
          }
        }
        default -> throw new Failure("Parameter '" + key + "' is not supported here");
      }
    }
    if (driver == null && !fileNamed) {
      throw new Failure("Must specify either driver or file");
    }
    boolean raw = driver != null && driver.equals("file");
    if (file == null || (!fileNamed && !raw)) {
      throw new Failure(
          fileNamed || raw
              ? "The 'file' block driver requires a file name"
              : "A block device must be specified for \"file\"");
    }
    if (lazyRefcounts != null && driver != null && (raw || driver.equals("raw"))) {
      throw new Failure(
          "Block format '" + driver + "' does not support the option 'lazy-refcounts'");
    }
    return new Source(new FileName(operand, file), raw ? "raw" : driver, keys, lazyRefcounts);
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
    return keys(Opening.options(format).lazyRefcounts(lazyRefcounts), secrets);
  }
}
