package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Snapshots;
import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.ImageException;
import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.CrashGroup.Moment;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The machine dies in the middle of a repair: what it leaves is no worse than the damage was, and
 * the next repair ends where the first would have ended.
 *
 * <p>{@code -Dimago.seed=N} begins with that seed.
 */
class RepairCrashTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int SEEDS = LONG ? 40 : 2;
  private static final int KEPT = LONG ? 40 : 12;
  private static final long FIRST_SEED = Long.getLong("imago.seed", 1);
  private static final int SIZE = 256 << 10;
  private static final int SECTOR = 512;
  private static final long TARGET = 0x00ff_ffff_ffff_fe00L;
  private static final long COPIED = 1L << 63;

  /** What is wrong with the image before its repair. */
  enum Damage {
    /** Counts that are too high. */
    LEAKS,
    /** Counts that are too low. */
    LOW_COUNTS,
    /** COPIED flags set and missing where they should not be. */
    FLAGS,
    /** A refcount block of zeroes. */
    EMPTY_BLOCK,
    /** A refcount table that leads nowhere: all is counted anew. */
    NO_BLOCK,
    /** All counts are old, and the header says so. */
    DIRTY,
    /** Two guest clusters in one host cluster. */
    SHARED,
    /** Entries of L2 tables that cannot be. */
    ENTRIES,
    /** Some of all. */
    ALL;

    /** Whether a repair gets every guest byte back. */
    boolean lossless() {
      return ordinal() < SHARED.ordinal();
    }
  }

  private record Crash(Moment moment, Bias bias, CrashImage left) {}

  private static int crashes;

  @TempDir private Path folder;
  private SplittableRandom random = new SplittableRandom(0);
  private ByteBuffer bytes = ByteBuffer.allocate(0);

  @ParameterizedTest
  @EnumSource
  void theNextRepairEndsWhereTheFirstWouldHave(Damage damage) throws Exception {
    for (long seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      try {
        run(damage, seed);
      } catch (AssertionError | Exception e) {
        throw new AssertionError("%s seed %d: %s".formatted(damage, seed, e), e);
      }
    }
  }

  @AfterAll
  static void tells() {
    System.out.printf("%d crashes of repairs, from seed %d on%n", crashes, FIRST_SEED);
    if (LONG) {
      assertThat(crashes).isGreaterThanOrEqualTo(2000);
    }
  }

  private void run(Damage damage, long seed) throws Exception {
    random = new SplittableRandom(seed * 31 + damage.ordinal());
    Path file = make();
    List<byte[]> sound = disks(CrashImage.of(file));
    bytes = ByteBuffer.wrap(Files.readAllBytes(file));
    hit(damage);
    Files.write(file, bytes.array());
    CrashImage damaged = CrashImage.of(file);

    CrashStorage whole = new CrashGroup().storage("whole", damaged);
    RepairResult result = Qcow2.repair(whole, RepairMode.ALL, Progress.NONE);
    assertThat(result.refused()).isFalse();
    // Entries that lead behind the end of the file stay: nothing is known of what they meant.
    List<String> left = result.left().findings();
    if (damage.lossless() || damage == Damage.SHARED) {
      assertThat(left).as("left after %s", result.lines()).isEmpty();
    }
    List<byte[]> repaired = disks(whole.content());
    if (damage.lossless()) {
      same(repaired, sound, "after the repair");
    }

    for (Crash crash : crashes(damaged)) {
      String where = "%s keeping %s: ".formatted(crash.moment, crash.bias);
      if (damage.lossless()) {
        same(disks(crash.left), sound, where + "before the next repair");
      }
      CrashStorage again = new CrashGroup().storage("again", crash.left);
      Qcow2.repair(again, RepairMode.ALL, Progress.NONE);
      assertThat(Qcow2.check(again, Progress.NONE).findings()).as(where).isEqualTo(left);
      same(disks(again.content()), repaired, where + "after the next repair");
      if (left.isEmpty() && random.nextInt(8) == 0) {
        again.content().writeTo(file);
        Qemu.check(file).clean();
      }
      crashes++;
    }
  }

  /** A fair sample of what crashes in a repair leave. */
  private List<Crash> crashes(CrashImage damaged) throws IOException {
    CrashGroup group = new CrashGroup();
    CrashStorage disk = group.storage("disk", damaged);
    List<Crash> kept = new ArrayList<>();
    int[] seen = {0};
    group.onCall(
        moment -> {
          int place = kept.size() < KEPT ? kept.size() : random.nextInt(++seen[0] + KEPT);
          if (place < KEPT) {
            Bias bias = Bias.values()[random.nextInt(Bias.values().length)];
            Crash crash = new Crash(moment, bias, group.crash(random, bias).get("disk"));
            if (place == kept.size()) {
              kept.add(crash);
            } else {
              kept.set(place, crash);
            }
          }
        });
    Qcow2.repair(disk, RepairMode.ALL, Progress.NONE);
    group.onCall(moment -> {});
    return kept;
  }

  private Path make() throws Exception {
    Path file = folder.resolve("image.qcow2");
    Files.deleteIfExists(file);
    int cluster = List.of(512, 512, 4096, 65536).get(random.nextInt(4));
    int bits = List.of(8, 16, 16, 32, 64).get(random.nextInt(5));
    String options = "cluster_size=%d,refcount_bits=%d".formatted(cluster, bits);
    if (cluster == 65536 && random.nextBoolean()) {
      options += ",extended_l2=on";
    }
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, SIZE);
    try (Image image = TestImages.open(file)) {
      write(image, 12);
      for (int i = random.nextInt(3); i > 0; i--) {
        Snapshots.create(image, "s" + i, Instant.EPOCH);
        write(image, 4);
      }
    }
    return file;
  }

  private void write(Image image, int times) throws IOException {
    for (int i = 0; i < times; i++) {
      byte[] some = new byte[1 + random.nextInt(20_000)];
      random.nextBytes(some);
      long at = random.nextInt(SIZE - some.length);
      switch (random.nextInt(6)) {
        case 0 -> image.writeZeroes(at, some.length, random.nextBoolean(), false);
        case 1 -> image.discard(at, some.length, Discard.TO_ZERO);
        default -> image.write(ByteBuffer.wrap(some), at);
      }
    }
  }

  // Damage

  private void hit(Damage damage) {
    switch (damage) {
      case LEAKS -> times(8, () -> setCount(anyCluster(), 1 + random.nextInt(5), true));
      case LOW_COUNTS -> times(8, () -> setCount(anyCluster(), random.nextInt(2), false));
      case FLAGS -> times(8, () -> flip(random.nextInt(4) == 0 ? anyL1Entry() : anyEntry()));
      case EMPTY_BLOCK -> clear((int) (bytes.getLong(reftable()) & TARGET));
      case NO_BLOCK ->
          bytes.putLong(reftable(), random.nextBoolean() ? 0 : 1L << 40 | random.nextInt(2) * 512L);
      case DIRTY -> {
        times(20, () -> setCount(anyCluster(), 0, false));
        bytes.putLong(72, bytes.getLong(72) | 1);
      }
      case SHARED -> times(3, this::share);
      case ENTRIES ->
          times(
              4,
              () -> {
                long bad =
                    random.nextBoolean()
                        ? COPIED | 1L << 40
                        : COPIED | bytes.getLong(anyEntry()) | 512L * random.nextInt(8);
                bytes.putLong(anyEntry(), bad);
              });
      case ALL -> {
        for (Damage each : Damage.values()) {
          if (each != Damage.ALL && random.nextInt(3) == 0) {
            hit(each);
          }
        }
      }
    }
  }

  private void times(int most, Runnable what) {
    for (int i = random.nextInt(most); i >= 0; i--) {
      what.run();
    }
  }

  private int clusterSize() {
    return 1 << bytes.getInt(20);
  }

  private int entryBytes() {
    return (bytes.getLong(72) & 16) != 0 ? 16 : 8;
  }

  private int reftable() {
    return (int) bytes.getLong(48);
  }

  private int anyCluster() {
    return random.nextInt(bytes.capacity() / clusterSize());
  }

  /** Sets a count if that makes it higher, or lower, as wanted. */
  private void setCount(int cluster, int count, boolean higher) {
    int countBytes = (1 << bytes.getInt(96)) / 8;
    int perBlock = clusterSize() / countBytes;
    int block = (int) (bytes.getLong(reftable() + cluster / perBlock * 8) & TARGET);
    int last = block + cluster % perBlock * countBytes + countBytes - 1;
    if (block != 0 && last < bytes.capacity() && higher == count > bytes.get(last)) {
      bytes.put(last, (byte) count);
    }
  }

  /** Where an entry of an L2 table of the active disk is. */
  private int anyEntry() {
    int table = 0;
    while (table == 0) {
      table = (int) (bytes.getLong(anyL1Entry()) & TARGET);
    }
    int clusters = (SIZE + clusterSize() - 1) / clusterSize();
    int perTable = clusterSize() / entryBytes();
    return table + entryBytes() * random.nextInt(Math.min(perTable, clusters));
  }

  private int anyL1Entry() {
    return (int) bytes.getLong(40) + 8 * random.nextInt(bytes.getInt(36));
  }

  private void flip(int at) {
    long entry = bytes.getLong(at);
    if ((entry & TARGET) != 0) {
      bytes.putLong(at, entry ^ COPIED);
    }
  }

  private void share() {
    long entry = bytes.getLong(anyEntry());
    if ((entry & TARGET) != 0) {
      bytes.putLong(anyEntry(), entry);
    }
  }

  private void clear(int block) {
    if (block != 0) {
      Arrays.fill(bytes.array(), block, block + clusterSize(), (byte) 0);
    }
  }

  // Reading

  /** The active disk, and each snapshot. */
  private static List<byte[]> disks(CrashImage image) throws IOException {
    List<byte[]> all = new ArrayList<>();
    Qcow2OpenOptions options = Qcow2OpenOptions.defaults();
    List<String> ids = new ArrayList<>();
    try (Image open = open(image, options)) {
      all.add(read(open));
      Qcow2.snapshots(open).forEach(snapshot -> ids.add(snapshot.id()));
    }
    for (String id : ids) {
      try (Image open = open(image, options.withSnapshot(id))) {
        all.add(read(open));
      }
    }
    return all;
  }

  /** All guest bytes; what cannot be read is filled with a mark. */
  private static byte[] read(Image image) throws IOException {
    byte[] all = new byte[SIZE];
    try {
      image.read(ByteBuffer.wrap(all), 0);
    } catch (ImageException e) {
      for (int at = 0; at < SIZE; at += SECTOR) {
        try {
          image.read(ByteBuffer.wrap(all, at, SECTOR), at);
        } catch (ImageException sector) {
          Arrays.fill(all, at, at + SECTOR, (byte) 0xEE);
        }
      }
    }
    return all;
  }

  private static Image open(CrashImage image, Qcow2OpenOptions options) throws IOException {
    return Qcow2.open(new CrashGroup().storage("read", image), options, TestImages.FILES);
  }

  private static void same(List<byte[]> found, List<byte[]> expected, String when) {
    assertThat(found.size()).as(when).isEqualTo(expected.size());
    for (int i = 0; i < found.size(); i++) {
      assertThat(Arrays.mismatch(found.get(i), expected.get(i)))
          .as("%s: first wrong byte of disk %d", when, i)
          .isEqualTo(-1);
    }
  }
}
