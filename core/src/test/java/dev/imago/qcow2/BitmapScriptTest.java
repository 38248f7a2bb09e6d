package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Image.Range;
import dev.imago.testing.Qemu;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashSet;
import java.util.List;
import java.util.SplittableRandom;
import java.util.TreeMap;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Bitmaps are made, changed, merged and removed, and the disk is written to, by us and by QEMU's
 * tools in turn, on one file. After every step what each bitmap calls dirty is exactly what was
 * written while it was enabled.
 */
class BitmapScriptTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int STEPS = LONG ? 200 : 30;
  private static final int SEEDS = LONG ? 5 : 1;
  private static final int MOST = 4;
  private static final int SECTOR = 512;

  /** What a bitmap should say. */
  private static final class Expected {
    private final int granularity;
    private boolean enabled;
    private final BitSet bits = new BitSet();

    Expected(int granularity, boolean enabled) {
      this.granularity = granularity;
      this.enabled = enabled;
    }

    void mark(long from, long to) {
      if (to > from) {
        bits.set((int) (from / granularity), (int) ((to - 1) / granularity) + 1);
      }
    }
  }

  @TempDir private Path folder;
  private final TreeMap<String, Expected> expected = new TreeMap<>();
  private final List<String> log = new ArrayList<>();
  private SplittableRandom random = new SplittableRandom(0);
  private int clusterSize;
  private int size;
  private Path file = Path.of("");

  @ParameterizedTest(name = "clusters of {0}, {1}")
  @CsvSource({
    "512, ''",
    "4096, ''",
    "65536, ''",
    "65536, lazy_refcounts=on",
    "16384, extended_l2=on",
    "65536, data"
  })
  void whatIsDirtyIsExactlyWhatWasWritten(int clusterSize, String more) throws Exception {
    this.clusterSize = clusterSize;
    this.size = Math.max(1 << 20, 20 * clusterSize) + SECTOR;
    for (long seed = 1; seed <= SEEDS; seed++) {
      random = new SplittableRandom(seed);
      expected.clear();
      log.clear();
      file = folder.resolve("image.qcow2");
      Files.deleteIfExists(file);
      String options = "cluster_size=" + clusterSize;
      if (more.equals("data")) {
        Files.deleteIfExists(folder.resolve("data"));
        options += ",data_file=" + folder.resolve("data");
      } else if (!more.isEmpty()) {
        options += "," + more;
      }
      Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, size);
      try {
        for (int step = 1; step <= STEPS; step++) {
          step(step);
          compare();
        }
        Qemu.check(file).clean();
        qemuReadsThem();
      } catch (AssertionError | Exception e) {
        throw new AssertionError("seed %d: %s%n%s".formatted(seed, e, String.join("\n", log)), e);
      }
    }
  }

  private void step(int step) throws Exception {
    boolean ours = random.nextBoolean();
    List<String> names = List.copyOf(expected.keySet());
    String name = names.isEmpty() ? "" : names.get(random.nextInt(names.size()));
    String other = names.isEmpty() ? "" : names.get(random.nextInt(names.size()));
    switch (random.nextInt(14)) {
      case 0, 1 -> add("b" + random.nextInt(MOST), ours);
      case 2 -> manage("remove", name, ours);
      case 3 -> manage("clear", name, ours);
      case 4, 5 -> manage(random.nextBoolean() ? "enable" : "disable", name, ours);
      case 6 -> merge(name, other, ours);
      default -> change(step, ours);
    }
  }

  private void say(boolean ours, String what) {
    log.add((ours ? "we: " : "qemu: ") + what);
  }

  private void add(String name, boolean ours) throws Exception {
    if (expected.containsKey(name)) {
      return;
    }
    int granularity = SECTOR << random.nextInt(10);
    boolean enabled = random.nextInt(4) > 0;
    say(ours, "add %s, granularity %d, enabled: %b".formatted(name, granularity, enabled));
    if (ours) {
      try (Image image = TestImages.open(file)) {
        Qcow2.bitmaps(image).add(name, granularity, enabled);
      }
    } else if (enabled) {
      Qemu.img("bitmap", "--add", "-g", granularity, file, name);
    } else {
      Qemu.img("bitmap", "--add", "--disable", "-g", granularity, file, name);
    }
    expected.put(name, new Expected(granularity, enabled));
  }

  private void manage(String what, String name, boolean ours) throws Exception {
    Expected bitmap = expected.get(name);
    if (bitmap == null) {
      return;
    }
    say(ours, what + " " + name);
    if (ours) {
      try (Image image = TestImages.open(file)) {
        Bitmaps bitmaps = Qcow2.bitmaps(image);
        switch (what) {
          case "remove" -> bitmaps.remove(name);
          case "clear" -> bitmaps.clear(name);
          case "enable" -> bitmaps.enable(name);
          default -> bitmaps.disable(name);
        }
      }
    } else {
      Qemu.img("bitmap", "--" + what, file, name);
    }
    switch (what) {
      case "remove" -> expected.remove(name);
      case "clear" -> bitmap.bits.clear();
      default -> bitmap.enabled = what.equals("enable");
    }
  }

  private void merge(String target, String source, boolean ours) throws Exception {
    Expected to = expected.get(target);
    Expected from = expected.get(source);
    if (to == null || from == null || target.equals(source)) {
      return;
    }
    say(ours, "merge %s into %s".formatted(source, target));
    if (ours) {
      try (Image image = TestImages.open(file)) {
        Qcow2.bitmaps(image).merge(target, source);
      }
    } else {
      Qemu.img("bitmap", "--merge", source, file, target);
    }
    from.bits.stream()
        .forEach(
            bit -> {
              long start = (long) bit * from.granularity;
              to.mark(start, Math.min(size, start + from.granularity));
            });
  }

  private void change(int step, boolean ours) throws Exception {
    int from = random.nextInt(size / SECTOR) * SECTOR;
    int to = Math.min(size, from + SECTOR * (1 + random.nextInt(3 * clusterSize / SECTOR)));
    int what = random.nextInt(5);
    if (what == 0) {
      // Discarding takes whole clusters.
      from = from / clusterSize * clusterSize;
      to = Math.min(size, (to + clusterSize - 1) / clusterSize * clusterSize);
    }
    say(ours, "change %d of 0x%x to 0x%x".formatted(what, from, to));
    Range done = new Range(from, to - from);
    if (ours) {
      try (Image image = TestImages.open(file)) {
        switch (what) {
          case 0 -> done = image.discard(from, to - from, Discard.TO_ZERO);
          case 1 -> image.writeZeroes(from, to - from, random.nextBoolean(), false);
          default -> image.write(TestImages.filled(to - from, step), from);
        }
      }
    } else {
      String how =
          switch (what) {
            case 0 -> "discard";
            case 1 -> random.nextBoolean() ? "write -z" : "write -z -u";
            default -> "write -P " + step % 256;
          };
      Qemu.io(file, List.of("%s %d %d".formatted(how, from, to - from)));
    }
    long end = done.guestOffset() + done.length();
    for (Expected each : expected.values()) {
      if (each.enabled) {
        each.mark(done.guestOffset(), end);
      }
    }
  }

  private void compare() throws Exception {
    List<StoredBitmap> stored = StoredBitmap.read(file);
    assertThat(stored)
        .extracting(StoredBitmap::name)
        .containsExactlyInAnyOrderElementsOf(expected.keySet());
    for (StoredBitmap each : stored) {
      Expected wanted = expected.getOrDefault(each.name(), new Expected(1, false));
      assertThat(each.inUse()).as(each.name()).isFalse();
      assertThat(each.auto()).as(each.name()).isEqualTo(wanted.enabled);
      assertThat(1 << each.granularityBits()).as(each.name()).isEqualTo(wanted.granularity);
      assertThat(each.bits()).as(each.name()).isEqualTo(wanted.bits);
    }
    try (Image image = TestImages.openReadOnly(file)) {
      for (String name : new HashSet<>(expected.keySet())) {
        BitSet ours = new BitSet();
        int granularity = expected.getOrDefault(name, new Expected(1, false)).granularity;
        Qcow2.bitmaps(image)
            .dirtyExtents(name)
            .forEach(
                range ->
                    ours.set(
                        (int) (range.guestOffset() / granularity),
                        (int) ((range.guestOffset() + range.length() - 1) / granularity) + 1));
        assertThat(ours).as("extents of " + name).isEqualTo(bits(name));
      }
    }
  }

  private BitSet bits(String name) {
    return expected.getOrDefault(name, new Expected(1, false)).bits;
  }

  /** QEMU reads all of a bitmap to merge it into another. */
  private void qemuReadsThem() throws Exception {
    for (String name : List.copyOf(expected.keySet())) {
      int granularity = expected.getOrDefault(name, new Expected(1, false)).granularity;
      Qemu.img("bitmap", "--add", "--merge", name, "-g", granularity, file, "probe");
      BitSet theirs =
          StoredBitmap.read(file).stream()
              .filter(each -> each.name().equals("probe"))
              .findFirst()
              .orElseThrow()
              .bits();
      assertThat(theirs).as("QEMU's view of " + name).isEqualTo(bits(name));
      Qemu.img("bitmap", "--remove", file, "probe");
    }
  }
}
