package dev.imago.cli;

import dev.imago.CreateOptions;
import dev.imago.CreateOptions.Preallocation;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.storage.Storage;
import dev.imago.storage.StorageLockedException;
import java.io.IOException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a new image is to look like, as it was typed: checked in QEMU's order and with its words,
 * and then handed to the library. Messages come without the image's name.
 */
final class CreateParameters {
  /** What QEMU knows as a backing format, with blanks around each: images may be made for it. */
  private static final String QEMUS_FORMATS =
      " raw qcow2 qcow qed vmdk vdi vhdx vpc parallels luks dmg bochs cloop file host_device nbd"
          + " http https ftp ftps ssh iscsi rbd nfs gluster ";

  /** What fits into the field of the kernel's call. */
  private static final long MAX_HINT = 0xffff_ffffL;

  private final Terminal terminal;
  private final String format;
  private final FormatOption[] options;
  private final @Nullable String[] values;

  /** Nothing but the defaults of a format that is known. */
  CreateParameters(Terminal terminal, String format) {
    this.terminal = terminal;
    this.format = format;
    this.options = FormatOption.of(format);
    this.values = new String[options.length];
  }

  /** Takes over what an {@code -o} says. */
  void set(String list) throws Failure {
    for (OptionList.Pair pair : OptionList.pairs(list)) {
      set(pair.name(), pair.value());
    }
  }

  /** Sets one parameter from its text. */
  void set(String name, String value) throws Failure {
    int i = index(name);
    if (i < 0) {
      throw new Failure("Invalid parameter '" + name + "'");
    }
    values[i] = options[i].normal(terminal, value);
  }

  /** Sets what {@code -b} and {@code -F} say, each unless null. */
  void setBacking(@Nullable String file, @Nullable String backingFormat) throws Failure {
    if ((file != null || backingFormat != null) && index("backing_file") < 0) {
      throw new Failure(
          "Backing "
              + (file != null ? "file" : "file format")
              + " not supported for file format '"
              + format
              + "'");
    }
    if (file != null) {
      set("backing_file", file);
    }
    if (backingFormat != null) {
      set("backing_fmt", backingFormat);
    }
  }

  /** Whether somebody has set it. */
  boolean has(String name) {
    int i = index(name);
    return i >= 0 && values[i] != null;
  }

  /** Whether anything is said of encryption, be it enough or not. */
  boolean encrypted() throws Failure {
    for (int i = 0; i < options.length; i++) {
      if (values[i] != null && options[i].name().startsWith("encrypt.")) {
        return true;
      }
    }
    return isOn("encryption");
  }

  /** What was set, or the format's own value, or null. */
  @Nullable String get(String name) {
    int i = index(name);
    if (i < 0) {
      return null;
    }
    String value = values[i];
    return value != null ? value : options[i].initial();
  }

  private int index(String name) {
    for (int i = 0; i < options.length; i++) {
      if (options[i].name().equals(name)) {
        return i;
      }
    }
    return -1;
  }

  /** {@code Formatting 'F', fmt=qcow2 cluster_size=65536 …}, without a line end. */
  String describe(String file) {
    StringBuilder text = new StringBuilder("Formatting '").append(file).append("', fmt=");
    text.append(format);
    for (FormatOption option : options) {
      String value = get(option.name());
      if (value != null) {
        text.append(' ').append(option.name()).append('=').append(OptionList.quote(value));
      }
    }
    return text.toString();
  }

  /**
   * Makes the image.
   *
   * @param sources what is to be read afterwards, and so must not be in the same export
   */
  void create(FileName name, List<Image> sources) throws Failure {
    if (name.nodes() != null) {
      createIn(name, sources);
      return;
    }
    Path path = name.newPath();
    CreateOptions made = toLibrary(path);
    try {
      Images.create(path, made);
    } catch (IOException e) {
      throw notCreated(name, e);
    } catch (IllegalArgumentException e) {
      throw new Failure(String.valueOf(e.getMessage()), 1, e);
    }
  }

  /** Makes the image in an export that is there, and as long as it is. */
  private void createIn(FileName name, List<Image> sources) throws Failure {
    BlockOptions nodes = Objects.requireNonNull(name.nodes());
    CreateOptions made = toLibrary(Path.of(""));
    try (Storage storage = forImage(nodes)) {
      if (storage.size() < made.size() && format.equals("raw")) {
        throw new Failure("Cannot grow NBD nodes");
      }
      Exports.refuseSource(storage.name(), sources);
      String backing = get("backing_file");
      if (backing != null && Exports.means(backing, storage.name())) {
        throw new Failure(
            "Error: Trying to create an image with the same filename as the backing file");
      }
      Images.create(storage, made);
      storage.flush();
    } catch (IOException e) {
      throw notCreated(name, e);
    } catch (IllegalArgumentException e) {
      throw new Failure(String.valueOf(e.getMessage()), 1, e);
    }
  }

  private Storage forImage(BlockOptions nodes) throws Failure, IOException {
    OpenOptions how =
        Opening.options(null).writable(true).resolver(new Exports(terminal.secrets()));
    try {
      return new BlockNodes(how, said -> {}).place(nodes.copy()).storage();
    } catch (Failure e) {
      throw new Failure(
          "Protocol driver 'nbd' does not support image creation, and opening the image failed: "
              + e.getMessage(),
          1,
          e);
    }
  }

  /** Says why an image could not be made. */
  Failure notCreated(FileName name, IOException thrown) {
    String text =
        switch (thrown) {
          case StorageLockedException e -> Errors.text(e);
          case FileSystemException e when Errors.text(e).equals("File too large") ->
              "The image size is too large for file format '" + format + "'";
          case FileSystemException e when Errors.isDirectory(e) ->
              "Could not create '" + e.getFile() + "': Is a directory";
          case FileSystemException e ->
              "Could not create '"
                  + (e.getFile() == null ? name.literal() : e.getFile())
                  + "': "
                  + Errors.text(e);
          case IOException e -> Errors.text(e);
        };
    return new Failure(text, 1, thrown);
  }

  /**
   * The library's form of it.
   *
   * @param image where the image will be
   */
  CreateOptions toLibrary(Path image) throws Failure {
    CreateOptions made = CreateOptions.of(format, longValue("size"));
    requireNoAttribute(image);
    made = made.preallocation(preallocation());
    if (!format.equals("qcow2")) {
      return made;
    }
    int version = version();
    boolean extendedL2 = isOn("extended_l2");
    if (version < 3 && extendedL2) {
      throw tooOld("Extended L2 entries are only supported with");
    }
    boolean lazy = isOn("lazy_refcounts");
    if (version < 3 && lazy) {
      throw tooOld("Lazy refcounts only supported with");
    }
    int clusterSize = clusterSize(extendedL2);
    String backing = get("backing_file");
    if (backing != null && made.preallocation() != Preallocation.OFF && !extendedL2) {
      throw new Failure(
          "Backing file and preallocation can only be used at the same time if extended_l2 is on");
    }
    String backingFormat = get("backing_fmt");
    if (backing == null && backingFormat != null) {
      throw new Failure("Backing format cannot be used without backing file");
    }
    if (backingFormat != null && !isFormat(backingFormat)) {
      throw notAccepted("backing-fmt", backingFormat);
    }
    made =
        made.version(version)
            .lazyRefcounts(lazy)
            .extendedL2(extendedL2)
            .clusterSize(clusterSize)
            .refcountBits(refcountBits(version))
            .compressionType(compressionType(version));
    if (backing != null && backingFormat != null) {
      made = made.backing(backing, backingFormat);
    }
    if (encrypted()) {
      made = made.luks(new EncryptionParameters(this, terminal.secrets()).toLibrary());
    }
    return withDataFile(made, image, version, backing != null);
  }

  /**
   * The library's form of what {@code measure} looks at, checked in its order and with its words.
   *
   * @param size of the disk
   */
  CreateOptions toMeasured(long size) throws Failure {
    CreateOptions measured = CreateOptions.of(format, size);
    if (!format.equals("qcow2")) {
      return measured;
    }
    boolean extendedL2 = isOn("extended_l2");
    measured = measured.clusterSize(clusterSize(extendedL2)).extendedL2(extendedL2);
    String compat = get("compat");
    if (compat != null && !compat.equals("0.10") && !compat.equals("1.1")) {
      throw new Failure("Invalid compatibility level: '" + compat + "'");
    }
    int version = version();
    long bits = longValue("refcount_bits");
    if (bits < 1 || bits > 64 || Long.bitCount(bits) != 1) {
      throw new Failure("Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (version < 3 && bits != 16) {
      throw new Failure(
          "Different refcount widths than 16 bits require compatibility level 1.1 or above"
              + " (use compat=1.1 or greater)");
    }
    try {
      measured = measured.preallocation(preallocation());
    } catch (Failure e) {
      throw new Failure("invalid parameter value: " + get("preallocation"), 1, e);
    }
    if ("luks".equals(get("encrypt.format"))) {
      measured = measured.luks(new EncryptionParameters(this, terminal.secrets()).toLibrary());
    }
    String backing = get("backing_file");
    if (backing != null) {
      measured = measured.backing(backing, "raw");
    }
    return measured.version(version).refcountBits((int) bits);
  }

  /**
   * Refuses what would be left undone. Elsewhere than on these file systems it is without effect,
   * and qemu-img ignores it too.
   */
  private void requireNoAttribute(Path image) throws Failure {
    if (longValue("extent_size_hint") > MAX_HINT) {
      throw new Failure("Extent size hint is too large");
    }
    if (!isOn("nocow") && longValue("extent_size_hint") == 0) {
      return;
    }
    String type;
    try {
      Path folder = image.toAbsolutePath().getParent();
      type = Files.getFileStore(folder == null ? image : folder).type();
    } catch (IOException e) {
      // The image cannot be made there either, and why is told then.
      return;
    }
    requireNoAttribute(type);
  }

  /** As above, for a file system of that name. */
  void requireNoAttribute(String fileSystem) throws Failure {
    String name =
        switch (fileSystem) {
          case "btrfs" -> isOn("nocow") ? "nocow" : "";
          case "xfs" -> longValue("extent_size_hint") > 0 ? "extent_size_hint" : "";
          default -> "";
        };
    if (!name.isEmpty()) {
      throw new Failure("Parameter '" + name + "' is not supported here on " + fileSystem);
    }
  }

  private int clusterSize(boolean extendedL2) throws Failure {
    long clusterSize = longValue("cluster_size");
    if (clusterSize < 512 || clusterSize > 2 << 20 || Long.bitCount(clusterSize) != 1) {
      throw new Failure("Cluster size must be a power of two between 512 and 2048k");
    }
    if (extendedL2 && clusterSize < 16384) {
      throw new Failure(
          "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
    }
    return (int) clusterSize;
  }

  /** Whether qemu-img knows a format of that name, this program perhaps not. */
  static boolean isFormat(String name) {
    return !name.isEmpty() && !name.contains(" ") && QEMUS_FORMATS.contains(" " + name + " ");
  }

  private Preallocation preallocation() throws Failure {
    String word = get("preallocation");
    if (word == null || word.equals("off")) {
      return Preallocation.OFF;
    }
    if (format.equals("raw") && word.equals("metadata")) {
      throw new Failure("Unsupported preallocation mode: metadata");
    }
    return switch (word) {
      case "metadata" -> Preallocation.METADATA;
      case "falloc" -> Preallocation.FALLOC;
      case "full" -> Preallocation.FULL;
      default -> throw notAccepted("preallocation", word);
    };
  }

  private int version() throws Failure {
    String word = get("compat");
    if (word == null) {
      return 3;
    }
    return switch (word) {
      case "0.10", "v2" -> 2;
      case "1.1", "v3" -> 3;
      default -> throw notAccepted("version", word);
    };
  }

  private int refcountBits(int version) throws Failure {
    long bits = longValue("refcount_bits");
    if (bits < 1 || bits > 64 || Long.bitCount(bits) != 1) {
      throw new Failure("Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (version < 3 && bits != 16) {
      throw new Failure(
          "Different refcount widths than 16 bits require compatibility level 1.1 or above"
              + " (use version=v3 or greater)");
    }
    return (int) bits;
  }

  private String compressionType(int version) throws Failure {
    String word = get("compression_type");
    if (word == null || word.equals("zlib")) {
      return "zlib";
    }
    if (!word.equals("zstd")) {
      throw notAccepted("compression-type", word);
    }
    if (version < 3) {
      throw tooOld("Non-zlib compression type is only supported with");
    }
    return word;
  }

  private CreateOptions withDataFile(CreateOptions made, Path image, int version, boolean backing)
      throws Failure {
    String dataFile = get("data_file");
    boolean raw = isOn("data_file_raw");
    if (raw && dataFile == null) {
      throw new Failure("data-file-raw requires data-file");
    }
    if (raw && backing) {
      throw new Failure("Backing file and data-file-raw cannot be used at the same time");
    }
    if (dataFile == null) {
      return made;
    }
    if (version < 3) {
      throw tooOld("External data files are only supported with");
    }
    if (dataFile.isEmpty()) {
      throw new Failure("Could not create '': No such file or directory");
    }
    requireUnambiguous(image, dataFile);
    return made.dataFile(dataFile, raw);
  }

  /** Refuses a data file's name that means another file to qemu-img than here. */
  static void requireUnambiguous(Path image, String dataFile) throws Failure {
    if (!Path.of(dataFile)
        .toAbsolutePath()
        .equals(image.toAbsolutePath().resolveSibling(dataFile))) {
      throw new Failure(
          "The data file's name must be absolute: to qemu-img '"
              + dataFile
              + "' is a file in the current folder, here one in the image's");
    }
  }

  private static Failure tooOld(String what) {
    return new Failure(what + " compatibility level 1.1 and above (use version=v3 or greater)");
  }

  private static Failure notAccepted(String name, String value) {
    return new Failure("Parameter '" + name + "' does not accept value '" + value + "'");
  }

  private boolean isOn(String name) throws Failure {
    String value = get(name);
    return value != null && OptionList.isOn(name, value);
  }

  private long longValue(String name) {
    String value = get(name);
    return value == null ? 0 : Long.parseLong(value);
  }
}
