package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.CheckResult;
import dev.imago.image.CompactResult;
import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
import dev.imago.image.Snapshot;
import dev.imago.image.SyncMode;
import dev.imago.qcow2.Events.Stage;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.CrashGroup.Moment;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.Stamp;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The machine dies while everything moves: data, L2 tables, both L1 tables, the snapshot table, and
 * a refcount table that has grown, with its blocks. Without any one of the barriers some crash
 * shows that it is missing.
 */
class CompactCrashTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int PER_STAGE = LONG ? 400 : 12;

  /** A refcount table of one cluster reaches 2 MiB far. */
  private static final int FILLER = 2200 << 10;

  private static final int KEPT_DATA = 96 << 10;
  private static final int SIZE = 3 << 20;

  private final byte[] disk = new byte[SIZE];
  private byte[] snapshot = new byte[0];

  private record Crash(Moment moment, Bias bias, CrashImage left) {}

  @Test
  void everythingMovesAndNoCrashShows() throws Exception {
    CrashImage before = make();
    CrashStorage moving = new CrashGroup().storage("image", before);
    Header old = header(before);
    List<Crash> crashes = crashes(moving, 7, PER_STAGE, null);

    Header header = header(moving.content());
    assertThat(header.refcountTableOffset()).isLessThan(old.refcountTableOffset());
    assertThat(header.refcountTableClusters()).isGreaterThan(1);
    assertThat(header.l1TableOffset()).isLessThan(old.l1TableOffset());
    assertThat(header.snapshotsOffset()).isLessThan(old.snapshotsOffset());
    assertThat(moving.content().size()).isLessThan(1 << 20);
    assertThat(crashes.stream().map(crash -> crash.moment.stage()))
        .contains(
            "REFCOUNTS", "REFTABLE", "REFTABLE_POINTER", "L2", "L1", "L1_POINTER", "SNAPSHOTS");
    for (Crash crash : crashes) {
      judge(crash);
      goOn(crash);
    }
    System.out.printf("%d crashes while everything moves%n", crashes.size());
  }

  /** The stages that compacting comes to, without the last, which nothing follows. */
  @ParameterizedTest
  @EnumSource(
      names = {"REFCOUNTS", "REFTABLE", "REFTABLE_POINTER", "L2", "L1", "L1_POINTER", "SNAPSHOTS"})
  void withoutABarrierSomeCrashShows(Stage skipped) throws Exception {
    CrashImage image = make();
    boolean found = false;
    for (long seed = 1; !found && seed <= 40; seed++) {
      CrashStorage moving = new CrashGroup().storage("image", image);
      for (Crash crash : crashes(moving, seed, 20, skipped)) {
        try {
          judge(crash);
        } catch (AssertionError | IOException e) {
          found = true;
          break;
        }
      }
    }
    assertThat(found).isTrue();
  }

  /** Whatever is in use lies behind the place of what is not there any more. */
  private CrashImage make() throws IOException {
    CrashGroup group = new CrashGroup();
    CrashStorage storage = group.storage("image");
    Qcow2.create(
        storage,
        Qcow2CreateOptions.ofSize(SIZE).withClusterSize(512).withVersion(3, 64),
        null,
        SyncMode.NONE);
    Image image = open(storage.reopen(), Events.NONE);
    try (image) {
      image.write(TestImages.filled(FILLER, 1), 0);
      write(image, FILLER, Stamp.bytes(1, FILLER, KEPT_DATA, 1));
      image.resize(SIZE - 512, Preallocation.OFF, true);
      image.resize(SIZE, Preallocation.OFF, true);
      // A longer L1 table, which is found a place at the end.
      image.resize(SIZE + (2 << 20), Preallocation.OFF, true);
      image.resize(SIZE, Preallocation.OFF, true);
      Snapshot gone = Qcow2.createSnapshot(image, "gone", Instant.EPOCH);
      image.discard(0, FILLER, Discard.TO_ZERO);
      Qcow2.createSnapshot(image, "kept", Instant.EPOCH);
      snapshot = disk.clone();
      write(image, FILLER + 1000, Stamp.bytes(2, FILLER, 20_000, 2));
      Qcow2.deleteSnapshot(image, gone.id());
    }
    return storage.content();
  }

  private void write(Image image, int at, byte[] bytes) throws IOException {
    image.write(ByteBuffer.wrap(bytes), at);
    System.arraycopy(bytes, 0, disk, at, bytes.length);
  }

  private static Image open(CrashStorage storage, Events events) throws IOException {
    return Qcow2.open(
        storage, Qcow2OpenOptions.defaults().withWritable(true), TestImages.FILES, events);
  }

  private static Header header(CrashImage image) throws IOException {
    return HeaderReader.read(new CrashGroup().storage("header", image)).header();
  }

  /**
   * Compacts it, and keeps a fair sample of what crashes leave.
   *
   * @param skipped the stage whose barrier is left out; crashes are then kept only up to the next
   */
  private static List<Crash> crashes(
      CrashStorage storage, long seed, int perStage, @Nullable Stage skipped) throws IOException {
    SplittableRandom random = new SplittableRandom(seed);
    Map<String, List<Crash>> kept = new TreeMap<>();
    Map<String, Integer> seen = new TreeMap<>();
    CrashGroup group = storage.group();
    boolean[] missing = {skipped == null};
    Events staged =
        new Events() {
          @Override
          public void entering(Stage stage) {
            group.stage(stage.name());
          }

          @Override
          public void left() {
            group.stage(CrashGroup.GUEST);
          }

          @Override
          public boolean skipsBarrier(Stage stage) {
            missing[0] |= stage == skipped;
            return stage == skipped;
          }
        };
    Image image = open(storage, staged);
    try (image) {
      group.onCall(
          moment -> {
            if (!missing[0]) {
              return;
            }
            missing[0] = skipped == null || moment.call() != StorageCall.FLUSH;
            String stage = moment.stage();
            List<Crash> crashes = kept.computeIfAbsent(stage, any -> new ArrayList<>());
            int count = seen.merge(stage, 1, Integer::sum);
            int place = crashes.size() < perStage ? crashes.size() : random.nextInt(count);
            if (place < perStage) {
              Bias bias = Bias.values()[random.nextInt(Bias.values().length)];
              Crash crash = new Crash(moment, bias, group.crash(random, bias).get("image"));
              if (place == crashes.size()) {
                crashes.add(crash);
              } else {
                crashes.set(place, crash);
              }
            }
          });
      CompactResult result = Qcow2.compact(image, Progress.NONE);
      assertThat(result.movedBytes()).isPositive();
      group.onCall(moment -> {});
    }
    return kept.values().stream().flatMap(List::stream).toList();
  }

  private void judge(Crash crash) throws IOException {
    String where = "%s keeping %s".formatted(crash.moment, crash.bias);
    CrashStorage storage = new CrashGroup().storage("left", crash.left);
    CheckResult found = Qcow2.check(storage, Progress.NONE);
    assertThat(found.corruptions() + found.checkErrors())
        .as("%s: %s", where, found.findings())
        .isZero();
    read(storage, disk, where);
  }

  private void read(CrashStorage storage, byte[] expected, String where) throws IOException {
    Qcow2OpenOptions options = Qcow2OpenOptions.defaults();
    String id;
    try (Image image = Qcow2.open(storage.reopen(), options, TestImages.FILES)) {
      same(image, expected, where);
      id = Qcow2.snapshots(image).getFirst().id();
    }
    try (Image image = Qcow2.open(storage.reopen(), options.withSnapshot(id), TestImages.FILES)) {
      same(image, snapshot, where + ", snapshot");
    }
  }

  private static void same(Image image, byte[] expected, String where) throws IOException {
    byte[] found = TestImages.read(image, 0, SIZE);
    assertThat(Arrays.mismatch(found, expected)).as("%s: first wrong byte", where).isEqualTo(-1);
  }

  /** What is left can be written to, compacted again, and repaired. */
  private void goOn(Crash crash) throws IOException {
    String where = "going on after %s keeping %s".formatted(crash.moment, crash.bias);
    CrashStorage storage = new CrashGroup().storage("left", crash.left);
    byte[] expected = disk.clone();
    Image open = open(storage, Events.NONE);
    try (open) {
      for (int at : new int[] {5000, FILLER + 2000}) {
        byte[] bytes = Stamp.bytes(3, at, 3000, 3);
        open.write(ByteBuffer.wrap(bytes), at);
        System.arraycopy(bytes, 0, expected, at, bytes.length);
      }
      Qcow2.compact(open, Progress.NONE);
    }
    read(storage, expected, where);
    CheckResult found = Qcow2.check(storage.reopen(), Progress.NONE);
    assertThat(found.corruptions()).as("%s: %s", where, found.findings()).isZero();
    Qcow2.repair(storage.reopen(), RepairMode.ALL, Progress.NONE);
    assertThat(Qcow2.check(storage.reopen(), Progress.NONE).findings()).as(where).isEmpty();
    read(storage, expected, where + ", repaired");
  }
}
