package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
import dev.imago.qcow2.CrashSetup.Kind;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.Script;
import dev.imago.testing.SnapshotOracle;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Says whether what a crash left is right: our checker, {@code qemu-img check}, every byte, a
 * repair by us and one by QEMU, and a second round of writes without any repair.
 */
final class CrashJudge {
  private static final int SECOND_ROUND = 25;
  private static final Pattern LEAK =
      Pattern.compile("Leaked cluster (\\d+) refcount=\\d+ reference=1");
  private static final Pattern FLAG =
      Pattern.compile("ERROR OFLAG_COPIED .*l[12]_entry=([0-9a-f]+) refcount=\\d+");

  private final CrashSetup setup;
  private final Path folder;
  private final boolean askQemu;

  /** A judge who may write to the folder that the run used. */
  CrashJudge(CrashSetup setup, Path folder, boolean askQemu) {
    this.setup = setup;
    this.folder = folder;
    this.askQemu = askQemu;
  }

  /** Fails the test with all that is needed to run it again. */
  void judge(CrashRun.Crash crash) throws IOException, InterruptedException {
    try {
      CrashImage image = crash.left().get(CrashRun.IMAGE);
      CrashImage data = crash.left().get(CrashRun.DATA);
      CrashGroup group = new CrashGroup();
      CrashStorage imageAgain = group.storage(CrashRun.IMAGE, image);
      CrashStorage dataAgain = data == null ? null : group.storage(CrashRun.DATA, data);
      ByteOracle oracle;
      SnapshotOracle snapshots;
      try (Image open = open(imageAgain, dataAgain)) {
        oracle = crash.snapshots().verifyDisk(crash.oracle(), open);
        snapshots = snapshots(crash.snapshots(), open, imageAgain);
      }
      if (DirtyJudge.isDirty(image)) {
        if (!setup.lazy()) {
          throw new AssertionError("the dirty bit is set without lazy refcounts");
        }
        new DirtyJudge(setup, folder, askQemu).judge(crash, oracle);
      } else if (check(image, data, "after the crash") > 0) {
        repair(image, data, oracle, snapshots);
      }
      if (setup.kind() == Kind.BITMAPS) {
        judgeBitmaps(image, oracle);
        removeStaleBitmaps(imageAgain);
      }
      secondRound(oracle, snapshots, imageAgain, dataAgain);
      check(imageAgain.content(), content(dataAgain), "after the second round");
    } catch (AssertionError | IOException | RuntimeException e) {
      throw new AssertionError(
          "%s%ncrash at %s, keeping %s: %s%n%s"
              .formatted(setup, crash.moment(), crash.bias(), e, CrashTest.howToRepeat(setup)),
          e);
    }
  }

  /** Judges what an orderly end left: nothing may be leaked. */
  void judgeClosed(CrashRun run) throws IOException, InterruptedException {
    CheckResult ours = checkOurs(run.closed());
    if (!ours.clean() || DirtyJudge.isDirty(run.closed())) {
      throw new AssertionError(
          "%s%nafter closing: %s%n%s"
              .formatted(setup, ours.findings(), CrashTest.howToRepeat(setup)));
    }
  }

  private static @Nullable CrashImage content(@Nullable CrashStorage storage) {
    return storage == null ? null : storage.content();
  }

  private Image open(CrashStorage image, @Nullable CrashStorage data) throws IOException {
    return open(setup, folder, image, data);
  }

  /** Opens for writing, with the backing image of the run. */
  static Image open(CrashSetup setup, Path folder, CrashStorage image, @Nullable CrashStorage data)
      throws IOException {
    CrashStorage dataAgain = data == null ? null : data.reopen();
    Path base = folder.resolve("base.raw");
    return CrashRun.open(setup, image.reopen(), dataAgain, base, Events.NONE);
  }

  /** Every byte of every snapshot. The one that qemu-img made is looked at by {@link #check}. */
  private SnapshotOracle snapshots(SnapshotOracle expected, Image open, CrashStorage image)
      throws IOException {
    return setup.snapshot()
        ? expected
        : expected.verify(
            Qcow2.snapshots(open),
            id ->
                Qcow2.open(
                    new CrashGroup().storage("snapshot", image.content()),
                    Qcow2OpenOptions.defaults().withReferences(false, false).withSnapshot(id),
                    TestImages.FILES));
  }

  private void secondRound(
      ByteOracle oracle, SnapshotOracle snapshots, CrashStorage image, @Nullable CrashStorage data)
      throws IOException {
    Script script =
        new Script(setup.seed() + 1, setup.mix(), () -> open(image, data), oracle, setup.maxSize())
            .withSnapshots(snapshots)
            .notBelow(setup.minSize());
    script.run(SECOND_ROUND);
    oracle.verify(script.image());
    snapshots(snapshots, script.image(), image);
    script.close();
  }

  /** A bitmap says that it is stale, or knows all that has changed: the disk was zero before. */
  private void judgeBitmaps(CrashImage image, ByteOracle oracle) throws IOException {
    Path path = folder.resolve("bitmaps.qcow2");
    image.writeTo(path);
    List<StoredBitmap> bitmaps = StoredBitmap.read(path);
    Files.delete(path);
    if (bitmaps.size() != 2) {
      throw new AssertionError("there are %d bitmaps".formatted(bitmaps.size()));
    }
    StoredBitmap all = bitmaps.get(0);
    byte[] bytes = oracle.expected();
    for (int at = 0; at < bytes.length && !all.inUse(); at++) {
      if (bytes[at] != 0 && !all.dirty(at)) {
        throw new AssertionError("a change at 0x%x is not noted".formatted(at));
      }
    }
    if (!bitmaps.get(1).bits().isEmpty()) {
      throw new AssertionError("the disabled bitmap has noted something");
    }
  }

  private void removeStaleBitmaps(CrashStorage image) throws IOException {
    try (Image open = open(image, null)) {
      Bitmaps bitmaps = Qcow2.bitmaps(open);
      for (BitmapInfo each : bitmaps.list()) {
        if (each.inconsistent()) {
          bitmaps.remove(each.name());
          bitmaps.add(each.name(), each.granularity(), each.enabled());
        }
      }
    }
  }

  /**
   * What a crash may leave either tool's repair puts right, and changes no guest byte of the disk
   * or of any snapshot. QEMU's is not asked where there are bitmaps, whose clusters it takes for
   * leaks.
   */
  private void repair(
      CrashImage image, @Nullable CrashImage data, ByteOracle oracle, SnapshotOracle snapshots)
      throws IOException, InterruptedException {
    CrashStorage ours = new CrashGroup().storage(CrashRun.IMAGE, image);
    CheckResult left = Qcow2.repair(ours, RepairMode.ALL, Progress.NONE).left();
    if (!left.clean()) {
      throw new AssertionError("after our repair: " + left.findings());
    }
    judgeRepaired(ours.content(), data, oracle, snapshots, "after our repair");
    if (askQemu && setup.kind() != Kind.BITMAPS) {
      Path path = write(image, data);
      Qemu.Check theirs =
          setup.kind() == Kind.ENCRYPTED
              ? Qemu.repair(path, CrashSetup.PASSPHRASE)
              : Qemu.repair(path);
      theirs.clean();
      judgeRepaired(CrashImage.of(path), data, oracle, snapshots, "after qemu-img's repair");
    }
  }

  private void judgeRepaired(
      CrashImage image,
      @Nullable CrashImage data,
      ByteOracle oracle,
      SnapshotOracle snapshots,
      String when)
      throws IOException, InterruptedException {
    CrashGroup group = new CrashGroup();
    CrashStorage repaired = group.storage(CrashRun.IMAGE, image);
    CrashStorage dataAgain = data == null ? null : group.storage(CrashRun.DATA, data);
    try (Image open = open(repaired, dataAgain)) {
      oracle.verify(open);
      snapshots(snapshots, open, repaired);
    } catch (AssertionError e) {
      throw new AssertionError(when + ": " + e, e);
    }
    if (check(image, data, when) != 0) {
      throw new AssertionError(when + " something is left");
    }
  }

  /** Where QEMU's tools find it. */
  private Path write(CrashImage image, @Nullable CrashImage data) throws IOException {
    Path path = folder.resolve("disk.qcow2");
    image.writeTo(path);
    if (data != null) {
      data.writeTo(folder.resolve("disk.data"));
    }
    return path;
  }

  /** Fails the test unless all findings are harmless; returns how many there are. */
  private long check(CrashImage image, @Nullable CrashImage data, String when)
      throws IOException, InterruptedException {
    CheckResult ours = checkOurs(image);
    boolean snapshots =
        setup.kind() == Kind.SNAPSHOTS
            || setup.kind() == Kind.COMPACT
            || setup.kind() == Kind.COMPACT_REFCOUNTS;
    long stale = snapshots ? staleFlags(ours) : 0;
    if (ours.corruptions() != stale || ours.checkErrors() != 0) {
      throw new AssertionError(when + " our check says: " + ours.findings());
    }
    if (askQemu) {
      Path path = write(image, data);
      Qemu.Check theirs =
          setup.kind() == Kind.ENCRYPTED
              ? Qemu.check(path, CrashSetup.PASSPHRASE)
              : Qemu.check(path);
      if (theirs.corruptions() != stale || theirs.checkErrors() != 0) {
        throw new AssertionError(when + " qemu-img says: " + theirs.output());
      }
      if (theirs.leaks() != ours.leaks()) {
        throw new AssertionError(
            "%s we see %d leaks, and qemu-img %d".formatted(when, ours.leaks(), theirs.leaks()));
      }
      if (setup.snapshot() && !Arrays.equals(setup.content(), snapshot(path))) {
        throw new AssertionError(when + " the snapshot's bytes are not what they were");
      }
      Files.deleteIfExists(path);
    }
    return ours.leaks() + ours.corruptions();
  }

  /**
   * Findings about COPIED flags that endanger nothing: a flag that is missing, or one whose target
   * is counted more often than it is used, and used only once.
   */
  private long staleFlags(CheckResult check) {
    long clusterSize = setup.clusterSize();
    Set<Long> usedOnce = new HashSet<>();
    for (String line : check.findings()) {
      Matcher leak = LEAK.matcher(line);
      if (leak.matches()) {
        usedOnce.add(Long.parseLong(leak.group(1)));
      }
    }
    long stale = 0;
    for (String line : check.findings()) {
      Matcher flag = FLAG.matcher(line);
      if (flag.matches()) {
        long entry = Long.parseUnsignedLong(flag.group(1), 16);
        long offset = entry & Geometry.OFFSET_MASK;
        boolean harmless = entry >= 0 || usedOnce.stream().anyMatch(n -> n * clusterSize == offset);
        stale += harmless ? 1 : 0;
      }
    }
    return stale;
  }

  private byte[] snapshot(Path image) throws IOException, InterruptedException {
    Path raw = folder.resolve("snapshot.raw");
    Qemu.img("convert", "-f", "qcow2", "-l", "kept", "-O", "raw", image, raw);
    byte[] bytes = Files.readAllBytes(raw);
    Files.delete(raw);
    return bytes;
  }

  static CheckResult checkOurs(CrashImage image) throws IOException {
    try (CrashStorage storage = new CrashGroup().storage("checked", image)) {
      return Qcow2.check(storage, Progress.NONE);
    }
  }
}
