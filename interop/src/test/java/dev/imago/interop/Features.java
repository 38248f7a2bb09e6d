package dev.imago.interop;

import dev.imago.CreateOptions;
import dev.imago.OpenOptions;
import dev.imago.image.LuksOptions;
import dev.imago.image.References;
import dev.imago.image.Secret;
import dev.imago.testing.Tool;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * Which features of qcow2 an image has, all at once.
 *
 * @param clusterSize in bytes
 */
record Features(
    int clusterSize,
    boolean extendedL2,
    Codec codec,
    Place place,
    boolean snapshots,
    boolean bitmap,
    boolean lazyRefcounts) {
  private static final String PASSPHRASE = "correct horse";

  /** What compresses clusters. */
  enum Codec {
    NONE,
    ZLIB,
    ZSTD
  }

  /** Where guest data is. */
  enum Place {
    PLAIN,
    LUKS,
    DATA_FILE
  }

  /**
   * All that go together: a data file knows neither compressed clusters nor snapshots, encrypted
   * clusters are not compressed, and extended L2 entries need clusters of 16 KiB.
   */
  static Stream<Features> all() {
    List<Features> all = new ArrayList<>();
    for (int clusterSize : List.of(512, 16 << 10, 64 << 10, 2 << 20)) {
      for (boolean extendedL2 : clusterSize < 16 << 10 ? NO : BOTH) {
        for (Place place : Place.values()) {
          for (Codec codec : place == Place.PLAIN ? Codec.values() : new Codec[] {Codec.NONE}) {
            for (boolean snapshots : place == Place.DATA_FILE ? NO : BOTH) {
              for (boolean bitmap : BOTH) {
                for (boolean lazy : BOTH) {
                  all.add(
                      new Features(clusterSize, extendedL2, codec, place, snapshots, bitmap, lazy));
                }
              }
            }
          }
        }
      }
    }
    return all.stream();
  }

  private static final boolean[] NO = {false};
  private static final boolean[] BOTH = {false, true};

  /** Of the disk in bytes: some L2 tables for small clusters, and a short last cluster. */
  long size() {
    return switch (clusterSize) {
          case 512 -> 1 << 20;
          case 16 << 10 -> 9 << 19;
          case 64 << 10 -> 5 << 20;
          default -> 18L << 20;
        }
        + 3 * 512;
  }

  long seed() {
    return hashCodeOfNames();
  }

  /** The same in every JVM, which an enum's own hash is not. */
  private long hashCodeOfNames() {
    return toString().hashCode();
  }

  CreateOptions createOptions(Path image) {
    CreateOptions options =
        CreateOptions.of("qcow2", size())
            .clusterSize(clusterSize)
            .extendedL2(extendedL2)
            .lazyRefcounts(lazyRefcounts)
            .compressionType(codec == Codec.ZSTD ? "zstd" : "zlib");
    return switch (place) {
      case PLAIN -> options;
      case LUKS -> options.luks(LuksOptions.of(secret()).withIterationMillis(1));
      case DATA_FILE -> options.dataFile(image + ".data", false);
    };
  }

  OpenOptions openOptions() {
    OpenOptions options = OpenOptions.of(References.sameFolder()).format("qcow2");
    return place == Place.LUKS ? options.key(secret()) : options;
  }

  private static Secret secret() {
    return new Secret(PASSPHRASE.getBytes(StandardCharsets.UTF_8));
  }

  /** How QEMU's tools are told to open the image: options, then its name. */
  private List<Object> qemuName(Path image) {
    if (place != Place.LUKS) {
      return List.of("-f", "qcow2", image);
    }
    return List.of(
        "--object",
        "secret,id=s,data=" + PASSPHRASE,
        "--image-opts",
        "driver=qcow2,encrypt.key-secret=s,file.filename=" + image);
  }

  /** Runs a command of {@code qemu-img} on the image; it must succeed. */
  String img(List<Object> words, Path image, Object... behind) throws Exception {
    List<Object> command = new ArrayList<>(List.of("qemu-img"));
    command.addAll(words);
    command.addAll(qemuName(image));
    command.addAll(List.of(behind));
    return Tool.run(command.toArray()).ok().out();
  }

  /** Runs commands in one {@code qemu-io}; none may fail or find a wrong pattern. */
  void io(Path image, List<String> commands) throws Exception {
    List<Object> command = new ArrayList<>(List.of("qemu-io"));
    for (String each : commands) {
      command.add("-c");
      command.add(each);
    }
    command.addAll(qemuName(image));
    String out = Tool.run(command.toArray()).ok().out();
    if (out.contains("failed") || out.contains("rror")) {
      throw new AssertionError("qemu-io: " + out);
    }
  }

  /** All guest bytes of the disk, as QEMU reads them. */
  byte[] read(Path image) throws Exception {
    return read(image, List.of());
  }

  /** All guest bytes of a snapshot, as QEMU reads them. */
  byte[] readSnapshot(Path image, String id) throws Exception {
    return read(image, List.of("-l", "snapshot.id=" + id));
  }

  private byte[] read(Path image, List<String> more) throws Exception {
    Path scratch = image.resolveSibling("scratch");
    List<Object> words = new ArrayList<>(List.of("convert", "-O", "raw"));
    words.addAll(more);
    img(words, image, scratch);
    byte[] bytes = Files.readAllBytes(scratch);
    Files.delete(scratch);
    return bytes;
  }
}
