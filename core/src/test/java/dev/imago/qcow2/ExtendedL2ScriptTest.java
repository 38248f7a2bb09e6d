package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.SyncMode;
import dev.imago.storage.FileStorage;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.Qemu;
import dev.imago.testing.Script;
import dev.imago.testing.Stamp;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Guests at work on images with subclusters, made by qemu-img and judged by it. */
class ExtendedL2ScriptTest {
  private static final int MIB = 1 << 20;
  private static final boolean LONG = Boolean.getBoolean("imago.long");

  @TempDir Path folder;

  @ParameterizedTest(name = "clusters of {0}, {1} bit refcounts, {2}")
  @CsvSource({
    "16384, 16, plain",
    "16384, 1, backing",
    "65536, 16, plain",
    "65536, 64, backing",
    "65536, 16, data",
    "16384, 16, raw",
    "131072, 16, backing",
    "131072, 8, snapshot",
    "16384, 16, compressed",
    "2097152, 16, backing"
  })
  void whatAGuestDidIsThereAndCleanAfterClosing(int clusterSize, int refcountBits, String kind)
      throws Exception {
    long size = Math.max(3 * MIB, 3L * clusterSize) + 512;
    int seeds = LONG ? 40 : 2;
    for (int seed = 1; seed <= seeds; seed++) {
      byte[] behind = behind(kind, seed, size);
      byte[] content =
          kind.equals("compressed") || kind.equals("snapshot")
              ? Stamp.bytes(seed, 0, (int) size, 2)
              : new byte[0];
      Path file =
          make(
              "cluster_size=%d,refcount_bits=%d".formatted(clusterSize, refcountBits),
              kind,
              size,
              behind,
              content);
      ByteOracle oracle = new ByteOracle(size, behind);
      if (content.length > 0) {
        oracle.writing(0, content).doneDurably();
      }
      Script script =
          new Script(
              seed,
              Script.Mix.USUAL
                  .with(Script.Op.GROW, 3)
                  .with(Script.Op.SHRINK, 2)
                  .with(Script.Op.ZERO, 12)
                  .with(Script.Op.RESERVE, 8)
                  .with(Script.Op.REOPEN, 1),
              () -> open(file),
              oracle,
              size + 2 * MIB);
      try {
        script.run(clusterSize > MIB ? 100 : 300);
        oracle.verify(script.image());
        script.close();
      } catch (Throwable t) {
        throw new AssertionError("seed " + seed + ": " + script.log(), t);
      }
      Qemu.check(file).clean();
      assertThat(Qemu.read(file, folder.resolve("read")))
          .as("seed " + seed)
          .isEqualTo(oracle.expected());
    }
  }

  /** QEMU and we write in turns, and read what the other one wrote. */
  @ParameterizedTest(name = "clusters of {0}, {1}")
  @CsvSource({"16384, plain", "65536, backing", "65536, data", "65536, compressed"})
  void qemuAndWeGoOnWithEachOthersImages(int clusterSize, String kind) throws Exception {
    int seeds = LONG ? 20 : 1;
    for (int seed = 1; seed <= seeds; seed++) {
      RandomGenerator random = new SplittableRandom(seed);
      int size = 16 * clusterSize + 512;
      byte[] behind = behind(kind, seed, size);
      byte[] content = kind.equals("compressed") ? Stamp.bytes(seed, 0, size, 2) : new byte[0];
      Path file = make("cluster_size=" + clusterSize, kind, size, behind, content);
      byte[] disk = Arrays.copyOf(content.length > 0 ? content : behind, size);
      for (int round = 0; round < 3; round++) {
        byQemu(file, disk, random, clusterSize);
        try (Image image = open(file)) {
          assertThat(TestImages.read(image, 0, size)).as("seed " + seed).isEqualTo(disk);
          byUs(image, disk, random, clusterSize);
        }
        Qemu.check(file).clean();
        assertThat(Qemu.read(file, folder.resolve("read"))).as("seed " + seed).isEqualTo(disk);
      }
    }
  }

  private void byQemu(Path file, byte[] disk, RandomGenerator random, int clusterSize)
      throws Exception {
    List<String> commands = new ArrayList<>();
    for (int i = 0; i < 25; i++) {
      int unit = List.of(512, clusterSize / 32, clusterSize).get(random.nextInt(3));
      int from = random.nextInt(disk.length / unit) * unit;
      int length = unit * (1 + random.nextInt(4));
      int to = Math.min(disk.length, from + length);
      int value = 0;
      switch (random.nextInt(4)) {
        case 0, 1 -> {
          value = 1 + random.nextInt(255);
          commands.add("write -P %d %d %d".formatted(value, from, to - from));
        }
        case 2 ->
            commands.add(
                "write -z %s %d %d".formatted(random.nextBoolean() ? "-u" : "", from, to - from));
        default -> {
          from = from / clusterSize * clusterSize;
          to = Math.min(disk.length, from + clusterSize);
          commands.add("discard %d %d".formatted(from, to - from));
        }
      }
      Arrays.fill(disk, from, to, (byte) value);
    }
    Qemu.io(file, commands);
  }

  private void byUs(Image image, byte[] disk, RandomGenerator random, int clusterSize)
      throws IOException {
    for (int i = 0; i < 40; i++) {
      int unit = List.of(1, clusterSize / 32, clusterSize).get(random.nextInt(3));
      int from = random.nextInt(disk.length / unit) * unit;
      int to = Math.min(disk.length, from + Math.max(unit, 512) * (1 + random.nextInt(4)));
      if (random.nextInt(3) > 0) {
        byte[] bytes = Stamp.bytes(random.nextInt(), from, to - from, i);
        image.write(ByteBuffer.wrap(bytes), from);
        System.arraycopy(bytes, 0, disk, from, to - from);
      } else {
        image.writeZeroes(from, to - from, random.nextBoolean(), false);
        Arrays.fill(disk, from, to, (byte) 0);
      }
    }
  }

  private static Image open(Path file) throws IOException {
    return Qcow2.open(
        FileStorage.open(file, FileStorage.Options.readWrite()),
        Qcow2OpenOptions.defaults()
            .withWritable(true)
            .withSync(SyncMode.NONE)
            .withCaches(8192, 8192),
        TestImages.FILES);
  }

  private static byte[] behind(String kind, int seed, long size) {
    if (!kind.equals("backing")) {
      return new byte[0];
    }
    long length = seed % 2 == 0 ? size / 2 + 512 : size + MIB;
    return Stamp.bytes(seed + 1, 0, (int) length, 1);
  }

  private Path make(String options, String kind, long size, byte[] behind, byte[] content)
      throws Exception {
    Path file = folder.resolve("image.qcow2");
    Files.deleteIfExists(file);
    String all = options + ",extended_l2=on";
    if (kind.equals("data") || kind.equals("raw")) {
      Path data = folder.resolve("data");
      Files.deleteIfExists(data);
      all += ",data_file=" + data + (kind.equals("raw") ? ",data_file_raw=on" : "");
    }
    if (content.length > 0) {
      Path raw = folder.resolve("content");
      Files.write(raw, content);
      List<Object> words = new ArrayList<>(List.of("convert", "-f", "raw", "-O", "qcow2"));
      if (kind.equals("compressed")) {
        words.add("-c");
      }
      words.addAll(List.of("-o", all, raw, file));
      Qemu.img(words.toArray());
    } else if (kind.equals("backing")) {
      Path base = folder.resolve("base");
      Files.write(base, behind);
      Qemu.img("create", "-f", "qcow2", "-o", all, "-b", base, "-F", "raw", file, size);
    } else {
      Qemu.img("create", "-f", "qcow2", "-o", all, file, size);
    }
    if (kind.equals("snapshot")) {
      Qemu.img("snapshot", "-c", "kept", file);
    }
    return file;
  }
}
