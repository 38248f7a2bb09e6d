package dev.imago.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One name that {@code -o} takes when an image is made.
 *
 * @param help what {@code -o help} says of it
 * @param initial its value if nobody gives one, or null if it has none
 */
record FormatOption(String name, Type type, String help, @Nullable String initial) {

  /** What values may look like. */
  enum Type {
    STRING("<str>"),
    SIZE("<size>"),
    NUMBER("<num>"),
    BOOL("<bool (on/off)>");

    private final String word;

    Type(String word) {
      this.word = word;
    }
  }

  /** In the order in which the line {@code Formatting …} names them. */
  private static final FormatOption[] QCOW2 = {
    new FormatOption(
        "encryption",
        Type.BOOL,
        "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
        null),
    new FormatOption(
        "encrypt.format", Type.STRING, "Encrypt the image, format choices: 'aes', 'luks'", null),
    new FormatOption(
        "encrypt.key-secret",
        Type.STRING,
        "ID of secret providing qcow AES key or LUKS passphrase",
        null),
    new FormatOption(
        "encrypt.cipher-alg", Type.STRING, "Name of encryption cipher algorithm", null),
    new FormatOption("encrypt.cipher-mode", Type.STRING, "Name of encryption cipher mode", null),
    new FormatOption("encrypt.ivgen-alg", Type.STRING, "Name of IV generator algorithm", null),
    new FormatOption(
        "encrypt.ivgen-hash-alg", Type.STRING, "Name of IV generator hash algorithm", null),
    new FormatOption("encrypt.hash-alg", Type.STRING, "Name of encryption hash algorithm", null),
    new FormatOption(
        "encrypt.iter-time", Type.NUMBER, "Time to spend in PBKDF in milliseconds", null),
    new FormatOption("cluster_size", Type.SIZE, "qcow2 cluster size", "65536"),
    new FormatOption("extended_l2", Type.BOOL, "Extended L2 tables", "off"),
    new FormatOption(
        "preallocation",
        Type.STRING,
        "Preallocation mode (allowed values: off, metadata, falloc, full)",
        null),
    new FormatOption(
        "compression_type",
        Type.STRING,
        "Compression method used for image cluster compression",
        "zlib"),
    new FormatOption("size", Type.SIZE, "Virtual disk size", null),
    new FormatOption("compat", Type.STRING, "Compatibility level (v2 [0.10] or v3 [1.1])", null),
    new FormatOption("backing_file", Type.STRING, "File name of a base image", null),
    new FormatOption("backing_fmt", Type.STRING, "Image format of the base image", null),
    new FormatOption("data_file", Type.STRING, "File name of an external data file", null),
    new FormatOption(
        "data_file_raw", Type.BOOL, "The external data file must stay valid as a raw image", null),
    new FormatOption("lazy_refcounts", Type.BOOL, "Postpone refcount updates", "off"),
    new FormatOption("refcount_bits", Type.NUMBER, "Width of a reference count entry in bits", "16")
  };

  private static final FormatOption[] RAW = {
    new FormatOption("size", Type.SIZE, "Virtual disk size", null)
  };

  /** What files add to formats that do not know it themselves. */
  private static final FormatOption[] FILE = {
    new FormatOption("nocow", Type.BOOL, "Turn off copy-on-write (valid only on btrfs)", null),
    new FormatOption(
        "preallocation",
        Type.STRING,
        "Preallocation mode (allowed values: off, falloc, full)",
        null),
    new FormatOption(
        "extent_size_hint", Type.SIZE, "Extent size hint for the image file, 0 to disable", null)
  };

  /** What {@code amend} takes, in alphabetical order. */
  static final FormatOption[] AMENDABLE = {
    qcow2("backing_file"),
    qcow2("backing_fmt"),
    qcow2("compat"),
    qcow2("data_file"),
    qcow2("data_file_raw"),
    qcow2("encrypt.iter-time"),
    new FormatOption(
        "encrypt.keyslot", Type.NUMBER, "Select a single keyslot to modify explicitly", null),
    new FormatOption(
        "encrypt.new-secret",
        Type.STRING,
        "New secret to set in the matching keyslots. Empty string to erase",
        null),
    new FormatOption(
        "encrypt.old-secret", Type.STRING, "Select all keyslots that match this password", null),
    new FormatOption(
        "encrypt.state",
        Type.STRING,
        "Select new state of affected keyslots (active/inactive)",
        null),
    qcow2("lazy_refcounts"),
    qcow2("refcount_bits"),
    qcow2("size")
  };

  private static FormatOption qcow2(String name) {
    for (FormatOption option : QCOW2) {
      if (option.name.equals(name)) {
        return option;
      }
    }
    throw new IllegalArgumentException(name);
  }

  /** The options of a known format in a file. */
  static FormatOption[] of(String format) {
    FormatOption[] own = own(format);
    List<FormatOption> all = new ArrayList<>(List.of(own));
    for (FormatOption option : FILE) {
      if (Arrays.stream(own).noneMatch(each -> each.name.equals(option.name))) {
        all.add(option);
      }
    }
    return all.toArray(new FormatOption[0]);
  }

  private static FormatOption[] own(String format) {
    return format.equals("qcow2") ? QCOW2 : RAW;
  }

  /**
   * What {@code -o help} prints.
   *
   * @param file whether it is known that the image will be in a file
   */
  static String describe(String format, boolean file) {
    List<FormatOption> sorted = new ArrayList<>(List.of(file ? of(format) : own(format)));
    sorted.sort(Comparator.comparing(FormatOption::name));
    StringBuilder text = new StringBuilder("Supported ");
    text.append(file ? "" : format + " ").append("options:\n");
    sorted.forEach(option -> option.describe(text));
    if (!file) {
      text.append("\nThe protocol level may support further options.\n");
      text.append("Specify the target filename to include those options.\n");
    }
    return text.toString();
  }

  /** What {@code amend -o help} prints. */
  static String describeAmendable() {
    StringBuilder text = new StringBuilder("Amend options for 'qcow2':\n");
    for (FormatOption option : AMENDABLE) {
      option.describe(text);
    }
    return text.toString();
  }

  private void describe(StringBuilder text) {
    int start = text.length();
    text.append("  ").append(name).append('=').append(type.word);
    while (text.length() - start < 24) {
      text.append(' ');
    }
    text.append(" - ").append(help).append('\n');
  }

  /** A value in its usual form: sizes and numbers in decimal digits. */
  String normal(Terminal terminal, String value) throws Failure {
    return switch (type) {
      case STRING -> value;
      case SIZE -> Long.toString(Size.requireParameter(terminal, name, value));
      case NUMBER -> Long.toString(number(value));
      case BOOL -> {
        OptionList.isOn(name, value);
        yield value;
      }
    };
  }

  private long number(String value) throws Failure {
    boolean hex = value.startsWith("0x") || value.startsWith("0X");
    boolean octal = !hex && value.length() > 1 && value.charAt(0) == '0';
    try {
      return Long.parseLong(value.substring(hex ? 2 : 0), hex ? 16 : octal ? 8 : 10);
    } catch (NumberFormatException e) {
      boolean digits = !value.isEmpty() && value.chars().allMatch(c -> c >= '0' && c <= '9');
      throw new Failure(
          digits
              ? "Value '" + value + "' is too large for parameter '" + name + "'"
              : "Parameter '" + name + "' expects a number");
    }
  }
}
