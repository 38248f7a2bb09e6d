package dev.imago.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.SplittableRandom;

/** Makes the images that the cases work on, with QEMU's own tools: once, when first asked for. */
final class Inputs {
  private static final int CLUSTER = 64 << 10;
  private static final long MIB = 1 << 20;
  private static final long GIB = 1 << 30;
  private static final long TIB = 1L << 40;

  private final Path folder;
  private final boolean quick;

  Inputs(Path folder, boolean quick) {
    this.folder = folder;
    this.quick = quick;
  }

  /** Bytes of the images that are full of random data. */
  long dataBytes() {
    return quick ? 64 * MIB : 4 * GIB;
  }

  /** Runs of data in the fragmented image, a hole behind each. */
  int runs() {
    return quick ? 1600 : 16_000;
  }

  /** Requests of 4 KiB in a run of {@code bench}; each of them fits into a cluster of its own. */
  int requests() {
    return quick ? 1000 : 32_000;
  }

  /** Makes the image that a program is to write into, if it is one that exists before. */
  void begin(Made output, Path target) throws IOException {
    String extended = "extended_l2=" + (output == Made.IN_EXTENDED ? "on" : "off");
    if (output == Made.IN_QCOW2 || output == Made.IN_EXTENDED) {
      Files.deleteIfExists(target);
      tool("qemu-img", "create", "-q", "-f", "qcow2", "-o", extended, target, dataBytes());
    }
  }

  /** Guest bytes that have a cluster in the image in use. */
  long usedBytes() {
    return quick ? 4 * GIB : 256 * GIB;
  }

  /** Nothing but data, none of it twice. */
  Path random() throws IOException {
    return make(
        "random.raw",
        path -> {
          var random = new SplittableRandom(1);
          ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20).order(ByteOrder.nativeOrder());
          try (FileChannel channel =
              FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
            for (long at = 0; at < dataBytes(); at += buffer.capacity()) {
              buffer.clear();
              while (buffer.hasRemaining()) {
                buffer.putLong(random.nextLong());
              }
              buffer.flip();
              while (buffer.hasRemaining()) {
                channel.write(buffer);
              }
            }
            channel.force(true);
          }
        });
  }

  /** The random data as qcow2. */
  Path randomQcow2() throws IOException {
    Path raw = random();
    return make("random.qcow2", path -> convert("raw", raw, path));
  }

  /** The same in another file. */
  Path randomQcow2Twin() throws IOException {
    Path raw = random();
    return make("random-twin.qcow2", path -> convert("raw", raw, path));
  }

  /** A disk with something in every cluster, a quarter as long as the random data. */
  Path disk() throws IOException {
    return make("disk.qcow2", path -> filled(path, dataBytes() / 4));
  }

  /** Bytes that are copied to servers. */
  long uploadBytes() {
    return dataBytes() / 2;
  }

  /** The first half of the random data. */
  Path upload() throws IOException {
    Path raw = random();
    return make(
        "upload.raw",
        path -> tool("sh", "-c", "head -c " + uploadBytes() + " " + raw + " > " + path));
  }

  /** Nothing, as long as what is copied to servers. */
  Path emptyCopy() throws IOException {
    return make(
        "empty-copy.qcow2",
        path -> tool("qemu-img", "create", "-q", "-f", "qcow2", path, uploadBytes()));
  }

  private void filled(Path path, long bytes) throws IOException {
    tool("qemu-img", "create", "-q", "-f", "qcow2", path, bytes);
    long piece = Math.min(bytes, GIB);
    List<Object> words = new ArrayList<>(List.of("qemu-io", "-t", "unsafe", "-f", "qcow2"));
    for (long at = 0; at < bytes; at += piece) {
      words.addAll(List.of("-c", "write -q -P 7 " + at + " " + piece));
    }
    words.add(path);
    tool(words.toArray());
  }

  /** Has nothing of a file wait to be written. */
  void settle(Path path) throws IOException {
    tool("sync", path);
  }

  /** Has the system forget what it has of a file in memory; none of it may wait to be written. */
  void forget(Path path) throws IOException {
    tool("dd", "if=" + path, "iflag=nocache", "count=0", "status=none");
  }

  /** A real file system with real files, half empty: /usr/share of this machine. */
  Path tree() throws IOException {
    return make(
        "tree.raw",
        path -> {
          String files = quick ? "/usr/share/doc" : "/usr/share";
          String size = quick ? "512M" : "2G";
          tool("mke2fs", "-q", "-t", "ext4", "-d", files, path.toString(), size);
        });
  }

  /** The file system as qcow2. */
  Path treeQcow2() throws IOException {
    Path raw = tree();
    return make("tree.qcow2", path -> convert("raw", raw, path));
  }

  /** The file system in compressed clusters. */
  Path treeCompressed() throws IOException {
    Path raw = tree();
    return make("tree-zlib.qcow2", path -> convert("raw", raw, path, "-c"));
  }

  /** The file system in clusters compressed by zstd. */
  Path treeZstd() throws IOException {
    Path raw = tree();
    return make(
        "tree-zstd.qcow2", path -> convert("raw", raw, path, "-c", "-o", "compression_type=zstd"));
  }

  /** 1 TiB of nothing, qcow2. */
  Path emptyQcow2() throws IOException {
    return make("empty.qcow2", path -> tool("qemu-img", "create", "-q", "-f", "qcow2", path, "1T"));
  }

  /** 1 TiB of nothing, raw. */
  Path emptyRaw() throws IOException {
    return make("empty.raw", path -> tool("qemu-img", "create", "-q", "-f", "raw", path, "1T"));
  }

  /**
   * Every second guest cluster has data, and no two neighbours follow one another in the file:
   * written in random order.
   */
  Path fragmented() throws IOException {
    return make(
        "fragmented.qcow2",
        path -> {
          tool("qemu-img", "create", "-q", "-f", "qcow2", path, 2L * runs() * CLUSTER);
          scatter(path, multiples(runs(), 2), 0);
        });
  }

  /** A disk of 1 TiB with as many runs, at equal distances, in random order in the file. */
  Path sparse() throws IOException {
    return make(
        "sparse.qcow2",
        path -> {
          tool("qemu-img", "create", "-q", "-f", "qcow2", path, "1T");
          scatter(path, multiples(runs(), TIB / CLUSTER / runs()), 0);
        });
  }

  /** The topmost of 8 overlays and their base: each has an eighth of the clusters. */
  Path chain() throws IOException {
    return layer(8);
  }

  private Path layer(int number) throws IOException {
    List<Object> create = new ArrayList<>(List.of("qemu-img", "create", "-q", "-f", "qcow2"));
    if (number > 0) {
      create.addAll(List.of("-F", "qcow2", "-b", layer(number - 1).getFileName()));
    }
    return make(
        "chain-" + number + ".qcow2",
        path -> {
          create.add(path);
          create.add(dataBytes() / 2);
          tool(create.toArray());
          int clusters = (int) (dataBytes() / 2 / CLUSTER);
          List<Long> all = multiples(clusters, 1);
          Collections.shuffle(all, new Random(number));
          scatter(path, all.subList(0, clusters / 8), number);
        });
  }

  private static List<Long> multiples(int count, long of) {
    List<Long> numbers = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      numbers.add(i * of);
    }
    return numbers;
  }

  /** Writes single clusters, in random order; another salt gives them other contents. */
  private void scatter(Path path, List<Long> clusters, int salt) throws IOException {
    List<Long> order = new ArrayList<>(clusters);
    Collections.shuffle(order, new Random(2));
    var commands = new StringBuilder();
    for (long cluster : order) {
      long pattern = 1 + (cluster + salt) % 255;
      commands.append("write -q -P " + pattern + " " + cluster * CLUSTER + " " + CLUSTER + "\n");
    }
    Path script = folder.resolve("scatter.qemu-io");
    Files.writeString(script, commands);
    tool("sh", "-c", "qemu-io -t unsafe -f qcow2 " + path + " < " + script);
    Files.delete(script);
  }

  /** Extents of the image that has most of them. */
  int manyExtentsCount() {
    return quick ? 40_000 : 4_000_000;
  }

  /** Each guest cluster is an extent of its own. */
  Path manyExtents() throws IOException {
    return make("many-extents.qcow2", path -> ManyExtents.write(path, manyExtentsCount()));
  }

  /**
   * A disk of 1 TiB whose first clusters are all in use, as its tables say; on the host's disk they
   * are holes.
   */
  Path used() throws IOException {
    return make(
        "used.qcow2",
        path -> {
          String metadata = "preallocation=metadata";
          tool("qemu-img", "create", "-q", "-f", "qcow2", "-o", metadata, path, usedBytes());
          tool("qemu-img", "resize", "-q", "-f", "qcow2", path, "1T");
        });
  }

  /** A copy of it, to write into: a file of holes, mostly. */
  Path usedCopy() throws IOException {
    Path used = used();
    Path copy = folder.resolve("used-copy.qcow2");
    tool("cp", "--sparse=always", used, copy);
    settle(copy);
    return copy;
  }

  private void convert(String format, Path from, Path to, String... options) throws IOException {
    List<Object> command = new ArrayList<>(List.of("qemu-img", "convert", "-f", format));
    command.addAll(List.of("-O", "qcow2"));
    command.addAll(List.of(options));
    command.add(from);
    command.add(to);
    tool(command.toArray());
  }

  /** Something that makes a file. */
  private interface Maker {
    void make(Path path) throws IOException;
  }

  private Path make(String name, Maker maker) throws IOException {
    Path path = folder.resolve(name);
    if (!Files.exists(path)) {
      System.err.println("making " + name);
      Path work = folder.resolve("half-made-" + name);
      Files.deleteIfExists(work);
      maker.make(work);
      tool("sync", work);
      Files.move(work, path);
    }
    return path;
  }

  private void tool(Object... command) throws IOException {
    List<String> words = new ArrayList<>();
    for (Object word : command) {
      words.add(word.toString());
    }
    Path out = folder.resolve("tool.out");
    Path err = folder.resolve("tool.err");
    Child.Cost cost = Child.run(words, out, err);
    if (cost.exitCode() != 0) {
      throw new IOException(
          String.join(" ", words)
              + " ended with "
              + cost.exitCode()
              + ": "
              + Files.readString(err));
    }
    Files.delete(out);
    Files.delete(err);
  }
}
