package dev.imago.interop;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Images;
import dev.imago.Snapshots;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.Snapshot;
import dev.imago.interop.Features.Codec;
import dev.imago.interop.Features.Place;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.Qemu;
import dev.imago.testing.Script;
import dev.imago.testing.Script.Mix;
import dev.imago.testing.Script.Op;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Features of qcow2 together: random work on our side judged by QEMU, work by QEMU on the same
 * image read and continued by us. The first tier takes every 13th combination.
 */
class FeatureMatrixTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int STEPS = LONG ? 200 : 50;
  private static final int QEMU_COMMANDS = LONG ? 60 : 20;
  private static final int EVERY = 13;

  @TempDir private Path folder;

  static Stream<Features> features() {
    List<Features> all = Features.all().toList();
    return LONG
        ? all.stream()
        : java.util.stream.IntStream.range(0, all.size())
            .filter(i -> i % EVERY == 0)
            .mapToObj(all::get);
  }

  @Test
  void theMatrixIsWhole() {
    // Seven kinds of entries; for each, 6 + 2 ways of compression, encryption and snapshots, and
    // the data file; with and without a bitmap and lazy refcounts.
    assertThat(Features.all()).doesNotHaveDuplicates().hasSize(7 * (6 + 2 + 1) * 4);
  }

  @ParameterizedTest
  @MethodSource("features")
  void bothSidesWorkOnOneImage(Features features) throws Exception {
    Path path = folder.resolve("disk.qcow2");
    Images.create(path, features.createOptions(path));
    if (features.bitmap()) {
      features.img(List.of("bitmap", "--add"), path, "b");
    }
    work(features, path, new byte[(int) features.size()], 0);
    judge(features, path);

    features.io(path, qemuCommands(features, size(features, path)));
    if (features.snapshots()) {
      snapshotByQemu(features, path);
      features.io(path, qemuCommands(features, size(features, path)));
    }
    judge(features, path);

    work(features, path, features.read(path), 1);
    judge(features, path);
  }

  /** Random work on our side. */
  private void work(Features features, Path path, byte[] before, int round) throws Exception {
    ByteOracle oracle = new ByteOracle(before.length);
    oracle.writing(0, before).done();
    Mix mix = Mix.USUAL.with(Op.GROW, 1).with(Op.SHRINK, 1).with(Op.REOPEN, 2).with(Op.FLUSH, 3);
    if (features.codec() != Codec.NONE) {
      mix = mix.with(Op.COMPRESS, 12);
    }
    if (features.place() == Place.LUKS) {
      // The caller of reserve() would write plain text.
      mix = mix.with(Op.RESERVE, 0).with(Op.ABANDON, 0);
    }
    if (features.snapshots()) {
      mix = mix.with(Op.SNAPSHOT, 3).with(Op.DELETE_SNAPSHOT, 1);
      mix = features.bitmap() ? mix : mix.with(Op.APPLY, 1);
    }
    Script script =
        new Script(
            features.seed() + round,
            mix,
            () -> Images.open(path, features.openOptions().writable(true)),
            oracle,
            features.size() + (1 << 20));
    if (features.bitmap()) {
      // A disk with dirty bitmaps cannot be empty.
      script.notBelow(512);
    }
    try {
      script.run(STEPS);
      oracle.verify(script.image());
      copyIfCountsAreLate(features, path, script.image(), oracle);
    } finally {
      script.close();
    }
    if (Files.exists(left())) {
      // Only now: the copy names the same data file.
      features.img(List.of("check", "-r", "all"), left());
      features.img(List.of("check"), left());
      assertSame(oracle.expected(), features.read(left()));
      Files.delete(left());
    }
    assertSame(oracle.expected(), features.read(path));
  }

  /** What a killed process would leave. */
  private Path left() {
    return folder.resolve("left.qcow2");
  }

  /** With lazy refcounts, and only then, counts are late after a flush; QEMU is to repair that. */
  private void copyIfCountsAreLate(Features features, Path path, Image image, ByteOracle oracle)
      throws Exception {
    byte[] cluster = new byte[Math.min(features.clusterSize(), (int) image.size()) / 512 * 512];
    ByteOracle.Change change = oracle.zeroing(0, cluster.length);
    change.done(image.discard(0, cluster.length, Image.Discard.TO_ZERO));
    Arrays.fill(cluster, (byte) 0x5a);
    change = oracle.writing(0, cluster);
    image.write(ByteBuffer.wrap(cluster), 0);
    change.done();
    image.flush();
    boolean dirty = Images.inspect(path, "qcow2", true).dirty();
    // A cluster of a data file has no count, and its table may have been there.
    if (features.place() != Place.DATA_FILE && cluster.length > 0) {
      assertThat(dirty).as("dirty").isEqualTo(features.lazyRefcounts());
    }
    if (dirty) {
      Files.copy(path, left());
    }
  }

  /** Both check the image, and both read the same in the disk and in every snapshot. */
  private void judge(Features features, Path path) throws Exception {
    // Ends with something else than 0 if anything is found.
    features.img(List.of("check"), path);
    assertThat(Images.check(path, "qcow2", false, Progress.NONE).findings()).isEmpty();
    List<Snapshot> snapshots;
    try (Image image = Images.open(path, features.openOptions())) {
      assertSame(features.read(path), read(image));
      snapshots = Snapshots.list(image);
    }
    for (Snapshot snapshot : snapshots) {
      try (Image image = Images.open(path, features.openOptions().snapshot(snapshot.id()))) {
        // QEMU reads as far as the disk is long today, we as far as it was then.
        byte[] theirs = features.readSnapshot(path, snapshot.id());
        byte[] ours = read(image);
        int length = Math.min(theirs.length, ours.length);
        assertSame(Arrays.copyOf(theirs, length), Arrays.copyOf(ours, length));
      }
    }
    if (features.bitmap()) {
      String info = Qemu.img("info", "--output=json", path);
      assertThat(info).contains("\"name\": \"b\"").doesNotContain("in-use");
    }
  }

  private static long size(Features features, Path path) throws Exception {
    try (Image image = Images.open(path, features.openOptions())) {
      return image.size();
    }
  }

  private static void snapshotByQemu(Features features, Path path) throws Exception {
    if (features.place() == Place.LUKS) {
      // This command of qemu-img takes its action first and its name last.
      features.img(List.of("snapshot", "-c", "by qemu"), path);
    } else {
      Qemu.img("snapshot", "-c", "by qemu", path);
    }
  }

  private static List<String> qemuCommands(Features features, long size) {
    List<String> commands = new ArrayList<>();
    SplittableRandom random = new SplittableRandom(features.seed());
    int cluster = features.clusterSize();
    for (int i = 0; i < QEMU_COMMANDS; i++) {
      long at = random.nextLong(size / 512) * 512;
      if (random.nextBoolean()) {
        at = at / cluster * cluster;
      }
      long length = Math.min(size - at, 512L * (1 + random.nextInt(3 * cluster / 512)));
      commands.add(
          switch (random.nextInt(6)) {
            case 0 -> "write -z %d %d".formatted(at, length);
            case 1 -> "write -z -u %d %d".formatted(at, length);
            case 2 -> "discard %d %d".formatted(at, length);
            default -> "write -P %d %d %d".formatted(1 + random.nextInt(255), at, length);
          });
    }
    return commands;
  }

  private static byte[] read(Image image) throws Exception {
    byte[] all = new byte[(int) image.size()];
    image.read(ByteBuffer.wrap(all), 0);
    return all;
  }

  private static void assertSame(byte[] expected, byte[] found) {
    assertThat(found.length).isEqualTo(expected.length);
    assertThat(Arrays.mismatch(expected, found)).as("first wrong byte").isEqualTo(-1);
  }
}
