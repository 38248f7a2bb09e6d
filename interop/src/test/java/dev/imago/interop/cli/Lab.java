package dev.imago.interop.cli;

import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;

/**
 * A folder of images made by QEMU's tools. Its path is relative, as a user's often is, and so both
 * programs see the same names.
 */
final class Lab {
  private static final Path HOME = Path.of("target", "contract");

  /** The images that are only looked at. */
  static final Path FIXTURES = HOME.resolve("fixtures");

  /** Where a command that changes something runs, on copies. */
  static final Path WORK = HOME.resolve("work");

  /** Where the results of the first program wait for the second. */
  static final Path QEMU = HOME.resolve("qemu");

  private Lab() {}

  /** Makes all fixtures anew. */
  static void build() throws Exception {
    delete(HOME);
    Files.createDirectories(FIXTURES.resolve("d"));
    qcow2Images();
    chains();
    rawImages();
    nested();
    layers();
    damaged();
    bitmaps();
    damagedKinds();
  }

  private static void qcow2Images() throws Exception {
    create("base.q", "1M");
    Qemu.io(
        file("base.q"), List.of("write -P 1 0 64k", "write -P 2 128k 4k", "write -P 3 512k 128k"));
    create("empty.q", "1M");
    create("nothing.q", "0");
    create("v2.q", "1M", "-o", "compat=0.10");
    Qemu.io(file("v2.q"), List.of("write -P 1 64k 64k"));
    create("v2snap.q", "1M", "-o", "compat=0.10");
    Qemu.img("snapshot", "-c", "s", file("v2snap.q"));
    create("small.q", "1M", "-o", "cluster_size=4k,refcount_bits=1");
    Qemu.io(file("small.q"), List.of("write -P 1 0 64k", "write -P 1 100k 5k", "write -z 8k 8k"));
    create("xl.q", "1M", "-o", "extended_l2=on");
    Qemu.io(file("xl.q"), List.of("write -P 1 0 4k", "write -P 1 8k 1k"));
    create("sub.q", "1M", "-o", "extended_l2=on,cluster_size=128k");
    Qemu.io(
        file("sub.q"),
        List.of(
            "write -P 1 0 4k",
            "write -P 2 20k 4k",
            "write -z 40k 8k",
            "write -z 128k 128k",
            "write -P 3 256k 384k",
            "write -z 300k 60k",
            "discard 384k 128k",
            "write -z -u 513k 200k",
            "write -P 4 900k 1k"));
    create("subprealloc.q", "1M", "-o", "extended_l2=on,preallocation=metadata");
    Qemu.io(file("subprealloc.q"), List.of("write -P 5 70k 3k"));
    Qemu.img(
        "convert", "-c", "-O", "qcow2", "-o", "extended_l2=on", file("base.q"), file("subcomp.q"));
    Qemu.io(file("subcomp.q"), List.of("write -P 6 513k 1k"));
    create("lazy.q", "1M", "-o", "lazy_refcounts=on,compat=1.1");
    create("state.q", "1M", "-o", "cluster_size=4k");
    Qemu.io(file("state.q"), List.of("write -b -P 5 0 1M"));
    stale();
    create("prealloc.q", "1M", "-o", "preallocation=metadata");
    create("zeroes.q", "1M");
    Qemu.io(
        file("zeroes.q"),
        List.of("write -P 1 0 256k", "write -z 64k 64k", "write -z 512k 64k", "discard 128k 64k"));
    Qemu.img("convert", "-c", "-O", "qcow2", file("base.q"), file("deflate.q"));
    Qemu.img(
        "convert",
        "-c",
        "-O",
        "qcow2",
        "-o",
        "compression_type=zstd",
        file("base.q"),
        file("zstd.q"));
    create("ext.q", "1M", "-o", "data_file=" + file("ext.data"));
    Qemu.img("create", "-q", "-f", "raw", file("ext.data"), "1M");
    rename("ext.q", "ext.data");
    create("snap.q", "1M");
    Qemu.img("snapshot", "-c", "first", file("snap.q"));
    Qemu.img("snapshot", "-c", "a very long snapshot name here", file("snap.q"));
    Qemu.img("bitmap", "--add", file("snap.q"), "b0");
    Qemu.img("bitmap", "--add", "--disable", "-g", "4096", file("snap.q"), "b1");
    create("snaps.q", "1M");
    Qemu.io(file("snaps.q"), List.of("write -P 1 0 128k"));
    Qemu.img("snapshot", "-c", "first", file("snaps.q"));
    Qemu.io(file("snaps.q"), List.of("write -P 2 64k 128k"));
    Qemu.img("snapshot", "-c", "second", file("snaps.q"));
    Qemu.io(file("snaps.q"), List.of("write -P 3 512k 64k", "write -z 0 64k"));
    create("with blank.q", "1M");
    absoluteDataFiles();
    encrypted();
  }

  /** An image whose counts were late when its writer was killed. */
  private static void stale() throws Exception {
    create("stale.q", "1M", "-o", "lazy_refcounts=on");
    Tool.Outcome killed =
        Tool.run(
            "qemu-io",
            "-f",
            "qcow2",
            "-c",
            "write -P 1 0 64k",
            "-c",
            "write -P 2 300k 100k",
            "-c",
            "flush",
            "-c",
            "sigraise 9",
            file("stale.q"));
    if (killed.status() == 0) {
      throw new AssertionError("qemu-io was not killed: " + killed);
    }
  }

  /** Images whose data files are named so that both programs find them from everywhere. */
  private static void absoluteDataFiles() throws Exception {
    Path data = file("abs.data").toAbsolutePath();
    create("absext.q", "1M", "-o", "data_file=" + data);
    Qemu.io(file("absext.q"), List.of("write -P 8 64k 64k"));
    Path raw = file("absraw.data").toAbsolutePath();
    create("absraw.q", "1M", "-o", "data_file=" + raw + ",data_file_raw=on");
  }

  /**
   * Unpacks an image of QEMU's that the passphrase {@code geheim} opens: qemu-img cannot be relied
   * on to make one on a busy machine.
   */
  private static void encrypted() throws Exception {
    Path packed =
        Path.of(System.getProperty("imago.root"))
            .resolve("core/src/test/resources/dev/imago/qcow2/luks-aes128-xts.qcow2.gz");
    try (InputStream in = new GZIPInputStream(Files.newInputStream(packed))) {
      Files.copy(in, file("luks.q"));
    }
    Qemu.img(
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=geheim",
        "-o",
        "encrypt.format=aes,encrypt.key-secret=s",
        file("aes.q"),
        "1M");
  }

  /** Makes an image whose data file stands beside it: QEMU stores the name as it is typed. */
  private static void rename(String image, String dataFile) throws Exception {
    Files.delete(file(image));
    Files.delete(file(dataFile));
    run(
        "cd "
            + FIXTURES
            + " && qemu-img create -q -f qcow2 -o data_file="
            + dataFile
            + " "
            + image
            + " 1M && qemu-io -f qcow2 -c 'write -P 7 64k 64k' "
            + image);
    run(
        "cd "
            + FIXTURES
            + " && qemu-img create -q -f qcow2 -o data_file=raw.data,data_file_raw=on"
            + " extraw.q 1M");
  }

  private static void chains() throws Exception {
    overlay("top.q", "base.q", "2M");
    Qemu.io(
        file("top.q"), List.of("write -P 1 64k 64k", "write -z 192k 64k", "write -P 9 512k 64k"));
    overlay("d/t2.q", "../base.q", "1M");
    Qemu.img(
        "create",
        "-q",
        "-f",
        "qcow2",
        "-u",
        "-o",
        "extended_l2=on,preallocation=metadata",
        "-b",
        "base.q",
        "-F",
        "qcow2",
        file("subtop.q"),
        "1100k");
    Qemu.io(
        file("subtop.q"),
        List.of("write -P 1 3k 9k", "write -z 66k 4k", "write -z 128k 64k", "write -P 2 560k 1k"));
    overlay("d/t3.q", "../d/t2.q", "1M");
    Qemu.img(
        "create",
        "-q",
        "-f",
        "qcow2",
        "-u",
        "-o",
        "compat=0.10",
        "-b",
        "long.raw",
        "-F",
        "raw",
        file("v2top.q"),
        "1M");
    overlay("missing.q", "nosuch", "1M");
    overlay("d/missing2.q", "../missing.q", "1M");
    overlay("nbd.q", "nbd://localhost:1/x", "1M");
    overlay("comma.q", "a,b", "1M");
    overlay("abs.q", FIXTURES.resolve("base.q").toAbsolutePath().toString(), "1M");
    Qemu.img(
        "create", "-q", "-f", "qcow2", "-u", "-b", "base.q", "-F", "raw", file("asraw.q"), "1M");
    Qemu.img(
        "create", "-q", "-f", "qcow2", "-u", "-b", "r.raw", "-F", "qcow2", file("wrong.q"), "1M");
    Qemu.img(
        "create", "-q", "-f", "qcow2", "-u", "-b", "r.raw", "-F", "raw", file("onraw.q"), "1M");
    run("cd " + FIXTURES + " && qemu-img create -q -f qcow2 -u -b ./loop.q -F qcow2 loop.q 1M");
  }

  /** An image on the disk of another one, which is as a device to it. */
  private static void nested() throws Exception {
    create("inner.q", "1M");
    Qemu.io(file("inner.q"), List.of("write -P 1 0 64k", "write -P 2 256k 64k"));
    Qemu.img("convert", "-f", "raw", "-O", "qcow2", file("inner.q"), file("nested.q"));
    Files.copy(FIXTURES.resolve("nested.q"), FIXTURES.resolve("tight.q"));
    Qemu.img("resize", "-q", file("nested.q"), "4M");
  }

  /** Layers of all lengths, each with data of its own. */
  private static void layers() throws Exception {
    create("c1.q", "1M");
    Qemu.io(file("c1.q"), List.of("write -P 1 0 300k", "write -P 1 900k 50k"));
    overlay("c2.q", "c1.q", "1500k");
    Qemu.io(
        file("c2.q"), List.of("write -P 2 100k 100k", "write -z 256k 64k", "write -P 2 1400k 20k"));
    overlay("c3.q", "c2.q", "1200k");
    Qemu.io(file("c3.q"), List.of("write -P 3 150k 100k", "write -z 0 64k", "write -P 3 1M 4k"));
    Qemu.img(
        "create",
        "-q",
        "-f",
        "qcow2",
        "-u",
        "-o",
        "compat=0.10,cluster_size=4k",
        "-b",
        "c2.q",
        "-F",
        "qcow2",
        file("c4.q"),
        "2M");
    Qemu.io(file("c4.q"), List.of("write -P 4 10k 3k", "write -P 4 1900k 10k"));
    overlay("longtop.q", "long.raw", "1M");
    Qemu.io(file("longtop.q"), List.of("write -P 5 5k 300"));
  }

  private static void rawImages() throws Exception {
    Qemu.img("create", "-q", "-f", "raw", file("r.raw"), "1M");
    run("qemu-io -f raw -c 'write -P 5 64k 64k' " + file("r.raw"));
    for (String name : List.of("a.raw", "b.raw", "c.raw")) {
      Qemu.img("create", "-q", "-f", "raw", file(name), "1M");
    }
    run("qemu-io -f raw -c 'write -P 1 70000 10' " + file("c.raw"));
    Qemu.img("create", "-q", "-f", "raw", file("long.raw"), "2M");
    run("qemu-io -f raw -c 'write -P 1 1500k 4k' " + file("long.raw"));
    Qemu.img("create", "-q", "-f", "raw", file("longzero.raw"), "2M");
    Qemu.img("convert", "-O", "qcow2", file("c.raw"), file("c.q"));
    byte[] odd = new byte[1000];
    new Random(1).nextBytes(odd);
    Files.write(file("odd.raw"), odd);
    Files.createFile(file("empty.raw"));
    Files.write(file("co:lon.raw"), new byte[512]);
  }

  private static void damaged() throws Exception {
    Files.copy(file("base.q"), file("leak.q"));
    try (RandomAccessFile leak = new RandomAccessFile(file("leak.q").toFile(), "rw")) {
      leak.setLength(12 << 16);
    }
    refcount("leak.q", 10, 1);
    Files.copy(file("base.q"), file("corrupt.q"));
    refcount("corrupt.q", 5, 0);
    Files.copy(file("leak.q"), file("both.q"));
    refcount("both.q", 5, 0);
    Files.copy(file("base.q"), file("cut.q"));
    try (RandomAccessFile cut = new RandomAccessFile(file("cut.q").toFile(), "rw")) {
      cut.setLength(330_000);
    }
    Files.copy(file("base.q"), file("dirty.q"));
    overwrite("dirty.q", 79, (byte) 1);
    Files.copy(file("base.q"), file("marked.q"));
    overwrite("marked.q", 79, (byte) 2);
  }

  /** Images of several kinds with too large and too small counts, a wrong flag, a bad entry. */
  private static void damagedKinds() throws Exception {
    for (String name :
        List.of("v2.q", "xl.q", "deflate.q", "snaps.q", "marks.q", "absext.q", "luks.q")) {
      Files.copy(file(name), file("leak-" + name));
      refcount("leak-" + name, (int) (Files.size(file(name)) - 1 >> clusterBits(name)), 5);
      Files.copy(file(name), file("flag-" + name));
      long l1 = word(name, 40);
      overwrite("flag-" + name, l1, (byte) (word(name, l1) >>> 56 ^ 0x80));
    }
    for (String name : List.of("snaps.q", "luks.q")) {
      long table = word(name, word(name, 40)) << 8 >>> 8;
      Files.copy(file(name), file("bad-" + name));
      overwrite("bad-" + name, table, ByteBuffer.allocate(8).putLong(table | 0x201).array());
    }
    // The entry of the cluster that has data: in a data file it lies where the guest sees it.
    long entry = (word("absext.q", word("absext.q", 40)) << 8 >>> 8) + 8;
    Files.copy(file("absext.q"), file("bad-absext.q"));
    overwrite("bad-absext.q", entry, ByteBuffer.allocate(8).putLong(1L << 63 | 0x10200).array());
    Files.copy(file("absext.q"), file("far-absext.q"));
    overwrite("far-absext.q", entry, ByteBuffer.allocate(8).putLong(1L << 63 | 1L << 40).array());
    for (String name : List.of("v2.q", "xl.q", "snaps.q", "absext.q", "luks.q")) {
      long l2 = word(name, word(name, 40)) << 8 >>> 8;
      Files.copy(file(name), file("low-" + name));
      refcount("low-" + name, (int) (l2 >> clusterBits(name)), 0);
    }
  }

  private static long word(String name, long offset) throws IOException {
    try (RandomAccessFile image = new RandomAccessFile(file(name).toFile(), "r")) {
      image.seek(offset);
      return image.readLong();
    }
  }

  private static int clusterBits(String name) throws IOException {
    return (int) word(name, 16); // what stands before is above 32 bits
  }

  private static void bitmaps() throws Exception {
    create("marks.q", "1M");
    Qemu.img("bitmap", "--add", file("marks.q"), "b0");
    Qemu.img("bitmap", "--add", "-g", "512", file("marks.q"), "fine");
    Qemu.io(file("marks.q"), List.of("write -P 1 64k 1k", "write -P 2 300k 100k"));
    Qemu.img("bitmap", "--disable", file("marks.q"), "fine");
    Qemu.io(file("marks.q"), List.of("write -P 3 1000k 1k"));
    Files.copy(file("marks.q"), file("same.q"));
    create("longmarks.q", "2M");
    Qemu.img("bitmap", "--add", file("longmarks.q"), "b0");
    create("inuse.q", "1M");
    Qemu.img("bitmap", "--add", file("inuse.q"), "b0");
    Qemu.img("bitmap", "--add", file("inuse.q"), "b1");
    try (RandomAccessFile image = new RandomAccessFile(file("inuse.q").toFile(), "rw")) {
      // qemu-img puts the extension that leads to the directory at 0x1f8.
      image.seek(0x210);
      long directory = image.readLong();
      image.seek(directory + 12);
      image.writeInt(3);
    }
  }

  /** Sets a 16-bit reference count in the first block. */
  private static void refcount(String name, int cluster, int count) throws IOException {
    long block = word(name, word(name, 48));
    overwrite(name, block + 2 * cluster, (byte) (count >> 8), (byte) count);
  }

  private static void overwrite(String name, long offset, byte... bytes) throws IOException {
    try (FileChannel channel = FileChannel.open(file(name), StandardOpenOption.WRITE)) {
      channel.write(ByteBuffer.wrap(bytes), offset);
    }
  }

  private static Path file(String name) {
    return FIXTURES.resolve(name);
  }

  private static void create(String name, String size, String... options) throws Exception {
    Object[] command =
        Stream.of(
                Stream.of("create", "-q", "-f", "qcow2"),
                Stream.of(options),
                Stream.of(file(name), size))
            .flatMap(each -> each)
            .toArray();
    Qemu.img(command);
  }

  private static void overlay(String name, String backing, String size) throws Exception {
    Qemu.img(
        "create",
        "-q",
        "-f",
        "qcow2",
        "-u",
        "-b",
        backing,
        "-F",
        backing.contains(".q") ? "qcow2" : "raw",
        file(name),
        size);
  }

  private static void run(String script) throws Exception {
    Tool.run("sh", "-c", script).ok();
  }

  /** Puts copies of the fixtures into {@link #WORK}. */
  static void fill() throws Exception {
    delete(WORK);
    Tool.run("cp", "-a", "--sparse=always", FIXTURES, WORK).ok();
  }

  static void delete(Path folder) throws IOException {
    if (!Files.exists(folder)) {
      return;
    }
    try (Stream<Path> all = Files.walk(folder)) {
      all.sorted(Comparator.reverseOrder())
          .forEach(
              path -> {
                try {
                  Files.delete(path);
                } catch (IOException e) {
                  throw new UncheckedIOException(e);
                }
              });
    }
  }
}
