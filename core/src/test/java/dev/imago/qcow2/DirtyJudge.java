package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.jspecify.annotations.Nullable;

/**
 * Judges what a crash left with the dirty bit set: counts may be wrong, mappings and bytes must not
 * be. It is read as it is, repaired by us, repaired by {@code qemu-img check -r all}, and repaired
 * by opening it while the machine dies once more.
 */
final class DirtyJudge {
  /** So many crashes of each repair are judged, whatever calls it makes. */
  private static final int CRASHES = 4;

  private final CrashSetup setup;
  private final Path folder;
  private final boolean askQemu;

  DirtyJudge(CrashSetup setup, Path folder, boolean askQemu) {
    this.setup = setup;
    this.folder = folder;
    this.askQemu = askQemu;
  }

  /** Whether the dirty bit is set. */
  static boolean isDirty(CrashImage image) throws IOException {
    try (CrashStorage storage = new CrashGroup().storage("looked at", image)) {
      return OpenParts.readHeader(storage).header().dirty();
    }
  }

  /**
   * Fails the test if a byte is lost, or if a repair leaves anything wrong.
   *
   * @param oracle knows exactly what the guest must see
   */
  void judge(CrashRun.Crash crash, ByteOracle oracle) throws IOException, InterruptedException {
    CrashImage image = crash.left().get(CrashRun.IMAGE);
    CrashImage data = crash.left().get(CrashRun.DATA);
    read(image, data, oracle, "unrepaired");
    CrashStorage ours = new CrashGroup().storage("repaired", image);
    CheckResult left = Qcow2.repair(ours, RepairMode.ALL, Progress.NONE).left();
    if (!left.clean()) {
      throw new AssertionError("our repair leaves " + left.findings());
    }
    sound(ours.content(), data, oracle, "after our repair");
    if (askQemu) {
      sound(repairedByQemu(image, data), data, oracle, "after QEMU's repair");
    }
    crashWhileRepairing(crash, image, data, oracle);
  }

  private void sound(CrashImage image, @Nullable CrashImage data, ByteOracle oracle, String when)
      throws IOException {
    CheckResult check = CrashJudge.checkOurs(image);
    if (!check.clean() || isDirty(image)) {
      throw new AssertionError(when + ": " + check.findings());
    }
    read(image, data, oracle, when);
  }

  private void read(CrashImage image, @Nullable CrashImage data, ByteOracle oracle, String when)
      throws IOException {
    CrashGroup group = new CrashGroup();
    CrashStorage dataStorage = data == null ? null : group.storage("data", data);
    CrashStorage storage = group.storage("read", image);
    try (Image open = CrashRun.openReadOnly(storage, dataStorage, folder.resolve("base.raw"))) {
      oracle.verify(open);
    } catch (AssertionError e) {
      throw new AssertionError(when + ": " + e.getMessage(), e);
    }
  }

  private CrashImage repairedByQemu(CrashImage image, @Nullable CrashImage data)
      throws IOException, InterruptedException {
    Path path = folder.resolve("disk.qcow2");
    image.writeTo(path);
    if (data != null) {
      data.writeTo(folder.resolve("disk.data"));
    }
    Tool.run("qemu-img", "check", "-f", "qcow2", "-r", "all", path).ok();
    // Not 0 if anything is left, leaks too.
    Tool.run("qemu-img", "check", "-f", "qcow2", path).ok();
    CrashImage repaired = CrashImage.of(path);
    Files.delete(path);
    return repaired;
  }

  /** Opening it repairs it; the machine dies meanwhile, and it is opened again. */
  private void crashWhileRepairing(
      CrashRun.Crash crash, CrashImage image, @Nullable CrashImage data, ByteOracle oracle)
      throws IOException {
    CrashGroup group = new CrashGroup();
    CrashStorage storage = group.storage(CrashRun.IMAGE, image);
    CrashStorage dataStorage = data == null ? null : group.storage(CrashRun.DATA, data);
    RandomGenerator random = new SplittableRandom(setup.seed() * 7919 + crash.moment().number());
    List<Map<String, CrashImage>> kept = new ArrayList<>();
    group.onCall(
        moment -> {
          int place = kept.size() < CRASHES ? kept.size() : random.nextInt((int) moment.number());
          if (place < CRASHES) {
            Bias bias = Bias.values()[random.nextInt(Bias.values().length)];
            Map<String, CrashImage> left = group.crash(random, bias);
            if (place < kept.size()) {
              kept.set(place, left);
            } else {
              kept.add(left);
            }
          }
        });
    CrashJudge.open(setup, folder, storage, dataStorage).close();
    group.onCall(moment -> {});
    for (Map<String, CrashImage> left : kept) {
      again(left, oracle);
    }
  }

  private void again(Map<String, CrashImage> left, ByteOracle oracle) throws IOException {
    CrashImage image = left.get(CrashRun.IMAGE);
    CheckResult check = CrashJudge.checkOurs(image);
    if (!isDirty(image) && check.corruptions() + check.checkErrors() > 0) {
      throw new AssertionError("a crash of the repair, and not dirty: " + check.findings());
    }
    CrashGroup group = new CrashGroup();
    CrashStorage storage = group.storage(CrashRun.IMAGE, image);
    CrashImage data = left.get(CrashRun.DATA);
    CrashStorage dataStorage = data == null ? null : group.storage(CrashRun.DATA, data);
    try (Image open = CrashJudge.open(setup, folder, storage, dataStorage)) {
      oracle.verify(open);
    }
    check = CrashJudge.checkOurs(storage.content());
    if (check.corruptions() + check.checkErrors() > 0 || isDirty(storage.content())) {
      throw new AssertionError("a crash of the repair, repaired: " + check.findings());
    }
  }
}
