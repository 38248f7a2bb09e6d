package dev.imago.qcow2.ondisk;

import dev.imago.image.ImageFormatException;
import dev.imago.image.UnsupportedFeatureException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * All that cluster 0 holds: the header, its extensions, the backing file's name. What is not known
 * here is kept as it is and written back.
 *
 * <p>Spec: qcow2 digest, sections 2 and 4.
 *
 * @param header agrees with the rest after {@link #parse}; {@link #write} sets where the name is
 * @param extensions in the order found, without the end marker
 * @param rawBackingName the name's bytes; none if there is no backing file
 */
public record HeaderCluster(Header header, List<HeaderExtension> extensions, Bytes rawBackingName) {
  /** Enough bytes from the start of an image for {@link #clusterSize}. */
  public static final int PROBE_BYTES = 512;

  /** Longest backing format name, in bytes. */
  private static final int MAX_FORMAT_NAME = 15;

  /** The order in which known extensions are written; unknown ones follow. */
  private static final List<Integer> ORDER =
      List.of(
          HeaderExtension.BACKING_FORMAT,
          HeaderExtension.DATA_FILE,
          HeaderExtension.LUKS,
          HeaderExtension.FEATURE_NAMES,
          HeaderExtension.BITMAPS);

  /** Extensions that must not contradict one another, so that each may be there only once. */
  private static final Set<Integer> SINGLE =
      Set.of(
          HeaderExtension.BACKING_FORMAT,
          HeaderExtension.DATA_FILE,
          HeaderExtension.LUKS,
          HeaderExtension.BITMAPS);

  /** Keeps a copy of the list. */
  public HeaderCluster {
    extensions = List.copyOf(extensions);
  }

  /**
   * How long cluster 0 is, judged from magic, version and cluster_bits alone.
   *
   * @param first the first {@link #PROBE_BYTES} bytes, or less if the file is shorter
   */
  public static int clusterSize(ByteBuffer first, String image)
      throws ImageFormatException, UnsupportedFeatureException {
    return 1 << HeaderRules.identify(first.slice(), image);
  }

  /**
   * Reads and judges cluster 0; leaves {@code cluster0}'s position where it is.
   *
   * @param cluster0 from its position on, the whole first cluster, or less if the file is shorter
   * @param image the image's name, for messages
   * @throws ImageFormatException if something breaks the specification or a limit of it
   * @throws UnsupportedFeatureException if the image needs what is not known here
   */
  public static HeaderCluster parse(ByteBuffer cluster0, String image)
      throws ImageFormatException, UnsupportedFeatureException {
    HeaderCluster cluster = parseForCheck(cluster0, image);
    HeaderRules.checkRefcountTable(cluster.header, image);
    return cluster;
  }

  /** As {@link #parse}, but lets an image without a refcount table through. */
  public static HeaderCluster parseForCheck(ByteBuffer cluster0, String image)
      throws ImageFormatException, UnsupportedFeatureException {
    ByteBuffer in = cluster0.slice();
    Header header = Header.parseForCheck(in, image);
    boolean named = header.backingFileOffset() != 0 && header.backingFileSize() != 0;
    long end =
        header.backingFileOffset() != 0 ? header.backingFileOffset() : 1L << header.clusterBits();
    List<HeaderExtension> extensions = readExtensions(in, header.headerLength(), end, image);
    Bytes name = Bytes.NONE;
    if (named) {
      int from = (int) header.backingFileOffset();
      int length = (int) header.backingFileSize();
      if (from + length > in.limit()) {
        throw new ImageFormatException(
            image, from, "backing file name", "the file ends at 0x%x, in it".formatted(in.limit()));
      }
      name = Bytes.take(in.slice(from, length), length);
    }
    HeaderCluster cluster = new HeaderCluster(header, extensions, name);
    cluster.checkExtensions(image);
    return cluster;
  }

  private static List<HeaderExtension> readExtensions(
      ByteBuffer in, int start, long end, String image) throws ImageFormatException {
    List<HeaderExtension> found = new ArrayList<>();
    Set<Integer> seen = new HashSet<>();
    int at = start;
    long readable = Math.min(end, in.limit());
    while (at + HeaderExtension.HEAD_BYTES <= readable) {
      int type = in.getInt(at);
      if (type == HeaderExtension.END) {
        break;
      }
      long length = Integer.toUnsignedLong(in.getInt(at + 4));
      int from = at + HeaderExtension.HEAD_BYTES;
      if (length > readable - from) {
        throw new ImageFormatException(
            image,
            at,
            "header extension 0x%08x".formatted(type),
            "%d bytes, but the area of extensions ends %d bytes from there"
                .formatted(length, readable - from));
      }
      if (SINGLE.contains(type) && !seen.add(type)) {
        throw new ImageFormatException(
            image, at, "header extension 0x%08x".formatted(type), "it is there a second time");
      }
      found.add(new HeaderExtension(type, Bytes.take(in.slice(from, (int) length), (int) length)));
      at = from + HeaderExtension.padded((int) length);
    }
    return found;
  }

  /** The feature table of a header that may be unreadable otherwise. Never throws. */
  static List<FeatureName> scanFeatureNames(ByteBuffer in, int start, long end) {
    try {
      for (HeaderExtension extension : readExtensions(in, start, end, "")) {
        if (extension.type() == HeaderExtension.FEATURE_NAMES) {
          return FeatureName.parseTable(extension.bytes().view());
        }
      }
    } catch (ImageFormatException e) {
      return List.of();
    }
    return List.of();
  }

  private void checkExtensions(String image) throws ImageFormatException {
    int at = header.headerLength();
    boolean luks = false;
    for (HeaderExtension extension : extensions) {
      int contents = at + HeaderExtension.HEAD_BYTES;
      int size = extension.bytes().size();
      switch (extension.type()) {
        case HeaderExtension.BACKING_FORMAT -> {
          if (size > MAX_FORMAT_NAME) {
            throw new ImageFormatException(
                image,
                at,
                "backing format name",
                "%d bytes; at most %d".formatted(size, MAX_FORMAT_NAME));
          }
        }
        case HeaderExtension.LUKS -> {
          luks = true;
          checkLuks(extension, contents, image);
        }
        case HeaderExtension.BITMAPS -> {
          if ((header.autoclear() & Header.AUTOCLEAR_BITMAPS) != 0) {
            checkBitmaps(extension, contents, image);
          }
        }
        default -> {}
      }
      at += extension.length();
    }
    if (header.cryptMethod() == Header.CRYPT_LUKS && !luks) {
      throw new ImageFormatException(
          image,
          HeaderRules.AT_CRYPT_METHOD,
          "crypt_method",
          "2 (LUKS), but the header extension 0x0537be77 that leads to the LUKS header is missing");
    }
  }

  private void checkLuks(HeaderExtension extension, int at, String image)
      throws ImageFormatException {
    if (header.cryptMethod() != Header.CRYPT_LUKS) {
      throw new ImageFormatException(
          image,
          at,
          "LUKS header extension",
          "expected with crypt_method 2 only, which is %d".formatted(header.cryptMethod()));
    }
    if (extension.bytes().size() != LuksPointer.BYTES) {
      throw new ImageFormatException(
          image,
          at,
          "LUKS header extension",
          "%d bytes; it has 16".formatted(extension.bytes().size()));
    }
    ByteBuffer in = extension.bytes().view();
    checkArea("LUKS header offset", in.getLong(0), in.getLong(8), at, image);
  }

  private void checkBitmaps(HeaderExtension extension, int at, String image)
      throws ImageFormatException {
    if (extension.bytes().size() != BitmapsExtension.BYTES) {
      throw new ImageFormatException(
          image,
          at,
          "bitmaps extension",
          "%d bytes; it has 24".formatted(extension.bytes().size()));
    }
    ByteBuffer in = extension.bytes().view();
    long count = Integer.toUnsignedLong(in.getInt(0));
    if (count == 0 || count > BitmapsExtension.MAX_BITMAPS) {
      throw new ImageFormatException(
          image, at, "nb_bitmaps", "%d; 1 to %d".formatted(count, BitmapsExtension.MAX_BITMAPS));
    }
    if (in.getInt(4) != 0) {
      throw new ImageFormatException(
          image, at + 4, "bitmaps extension", "the reserved field is not 0");
    }
    long size = in.getLong(8);
    if (size < 0 || size > BitmapsExtension.MAX_DIRECTORY_BYTES) {
      throw new ImageFormatException(
          image,
          at + 8,
          "bitmap_directory_size",
          "%s bytes; at most %d"
              .formatted(Long.toUnsignedString(size), BitmapsExtension.MAX_DIRECTORY_BYTES));
    }
    checkArea("bitmap_directory_offset", in.getLong(16), size, at + 16, image);
  }

  /** Passes for a cluster-aligned area that is neither the header nor ends beyond 2^56. */
  private void checkArea(String field, long offset, long length, int at, String image)
      throws ImageFormatException {
    long clusterSize = 1L << header.clusterBits();
    boolean fits = offset > 0 && length >= 0 && length <= Geometry.MAX_HOST_OFFSET - offset;
    if (!fits || offset % clusterSize != 0) {
      throw new ImageFormatException(
          image,
          at,
          field,
          "0x%x, and %s bytes; a multiple of the cluster size, 0x%x, not 0, that ends below 2^56"
              .formatted(offset, Long.toUnsignedString(length), clusterSize));
    }
  }

  /** The backing file's name; empty if there is none. */
  public Optional<String> backingName() {
    return rawBackingName.size() == 0 ? Optional.empty() : Optional.of(rawBackingName.text());
  }

  /** The backing file's format as written in the image; empty if it says none. */
  public Optional<String> backingFormat() {
    return find(HeaderExtension.BACKING_FORMAT).map(Bytes::text);
  }

  /** The data file's name, to be used as it is; empty if the image says none. */
  public Optional<String> dataFileName() {
    return find(HeaderExtension.DATA_FILE).map(Bytes::text).filter(name -> !name.isEmpty());
  }

  /** Where the LUKS header is. */
  public Optional<LuksPointer> luks() {
    return find(HeaderExtension.LUKS)
        .map(bytes -> new LuksPointer(bytes.view().getLong(0), bytes.view().getLong(8)));
  }

  /**
   * Where the bitmap directory is. Empty too if the autoclear bit is not set, since the extension
   * means nothing then.
   */
  public Optional<BitmapsExtension> bitmaps() {
    if ((header.autoclear() & Header.AUTOCLEAR_BITMAPS) == 0) {
      return Optional.empty();
    }
    return find(HeaderExtension.BITMAPS)
        .map(
            bytes ->
                new BitmapsExtension(
                    Integer.toUnsignedLong(bytes.view().getInt(0)),
                    bytes.view().getLong(8),
                    bytes.view().getLong(16)));
  }

  /** What the image calls its feature bits; empty if it does not say. */
  public List<FeatureName> featureNames() {
    return find(HeaderExtension.FEATURE_NAMES)
        .map(bytes -> FeatureName.parseTable(bytes.view()))
        .orElse(List.of());
  }

  /** The contents of the first extension of a type. */
  private Optional<Bytes> find(int type) {
    return extensions.stream()
        .filter(extension -> extension.type() == type)
        .map(HeaderExtension::bytes)
        .findFirst();
  }

  /**
   * Where the first extension of a type begins in what {@link #parse} has read; -1 if there is
   * none.
   */
  public int extensionAt(int type) {
    int at = header.headerLength();
    for (HeaderExtension extension : extensions) {
      if (extension.type() == type) {
        return at;
      }
      at += extension.length();
    }
    return -1;
  }

  /** Where the list of extensions ends in what {@link #parse} has read: at its end marker. */
  public int extensionsEnd() {
    return header.headerLength() + extensions.stream().mapToInt(HeaderExtension::length).sum();
  }

  /** A copy with another header. */
  public HeaderCluster withHeader(Header newHeader) {
    return new HeaderCluster(newHeader, extensions, rawBackingName);
  }

  /** A copy with another backing file's name; an empty name for none. */
  public HeaderCluster withBackingName(String name) {
    return new HeaderCluster(header, extensions, Bytes.of(name));
  }

  /** A copy in which all extensions of this one's type are replaced by it. */
  public HeaderCluster with(HeaderExtension extension) {
    List<HeaderExtension> changed = new ArrayList<>(without(extension.type()).extensions);
    changed.add(extension);
    return new HeaderCluster(header, changed, rawBackingName);
  }

  /** A copy without extensions of this type. */
  public HeaderCluster without(int type) {
    return new HeaderCluster(
        header,
        extensions.stream().filter(extension -> extension.type() != type).toList(),
        rawBackingName);
  }

  /**
   * The bytes of cluster 0 as far as they are used: header, extensions (known ones in the order of
   * the specification, then the others), end marker, backing file's name.
   *
   * @throws IllegalArgumentException if they are more than a cluster, or the backing file's name is
   *     longer than 1023 bytes
   */
  public ByteBuffer write() {
    List<HeaderExtension> ordered = ordered();
    long nameAt = endOfExtensions();
    int nameLength = rawBackingName.size();
    if (nameLength > HeaderRules.MAX_BACKING_NAME) {
      throw new IllegalArgumentException("Backing file name too long");
    }
    if (nameAt + nameLength > 1L << header.clusterBits()) {
      throw new IllegalArgumentException("No space left in the file header");
    }
    ByteBuffer out = ByteBuffer.allocate((int) nameAt + nameLength);
    header.withBackingFile(nameLength == 0 ? 0 : nameAt, nameLength).write(out);
    for (HeaderExtension extension : ordered) {
      extension.write(out);
    }
    out.putLong(0);
    rawBackingName.write(out);
    return out.flip();
  }

  /** As {@link #write}, but without the backing file's name, which stands at {@code nameAt}. */
  public ByteBuffer writeApart(long nameAt) {
    int nameLength = rawBackingName.size();
    ByteBuffer out = ByteBuffer.allocate((int) endOfExtensions());
    header.withBackingFile(nameLength == 0 ? 0 : nameAt, nameLength).write(out);
    for (HeaderExtension extension : ordered()) {
      extension.write(out);
    }
    return out.putLong(0).flip();
  }

  /** Where in the cluster the end marker ends. */
  private long endOfExtensions() {
    long end = (long) header.headerLength() + HeaderExtension.HEAD_BYTES;
    for (HeaderExtension extension : extensions) {
      end += extension.length();
    }
    return end;
  }

  private List<HeaderExtension> ordered() {
    List<HeaderExtension> ordered = new ArrayList<>();
    for (int type : ORDER) {
      extensions.stream().filter(extension -> extension.type() == type).forEach(ordered::add);
    }
    extensions.stream()
        .filter(extension -> !ORDER.contains(extension.type()))
        .forEach(ordered::add);
    return ordered;
  }
}
