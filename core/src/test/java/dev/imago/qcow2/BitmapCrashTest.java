package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.CheckResult;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.qcow2.ondisk.Bytes;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.HeaderExtension;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.stream.Collectors;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The machine dies at every storage call while bitmaps are made, changed and removed: the header is
 * whole, the backing file is named as before, and the bitmaps are as before the call or after it.
 */
class BitmapCrashTest {
  private static final int BIASES = Boolean.getBoolean("imago.long") ? 24 : 3;
  private static final int FOREIGN = 0x1234_5678;

  @TempDir private Path folder;
  private final List<Crash> crashes = new ArrayList<>();
  private Set<String> allowed = Set.of("");

  private record Crash(String step, CrashImage left, Set<String> allowed) {}

  private interface Step {
    void run(Bitmaps bitmaps, Image image) throws IOException;
  }

  /** The last makes the extension lie in two sectors: for a moment no bitmap counts. */
  @ParameterizedTest(name = "clusters of {0}, backing name of {1} bytes, {2} foreign bytes")
  @CsvSource({
    "512, 0, 0",
    "512, 300, 0",
    "4096, 0, 24",
    "4096, 700, 0",
    "65536, 0, 0",
    "65536, 20, 40",
    "65536, 1000, 0",
    "4096, 0, 376"
  })
  void aCrashLeavesTheOldOrTheNew(int clusterSize, int name, int foreign) throws Exception {
    Path file = make(clusterSize, name, foreign);
    HeaderCluster header = header(file);
    CrashGroup group = new CrashGroup();
    CrashStorage storage = group.storage("image", CrashImage.of(file));
    SplittableRandom random = new SplittableRandom(clusterSize + name);
    boolean torn = foreign == 376;
    try (Image image = open(storage)) {
      Bitmaps bitmaps = Qcow2.bitmaps(image);
      String[] step = {""};
      group.onCall(
          moment -> {
            for (int i = 0; i < BIASES; i++) {
              Bias bias = Bias.values()[random.nextInt(Bias.values().length)];
              crashes.add(new Crash(step[0], group.crash(random, bias).get("image"), allowed));
            }
          });
      String state = "";
      for (Object[] each :
          new Object[][] {
            {"a{}", (Step) (b, i) -> b.add("a", 512, false)},
            {"a{} b*+", (Step) (b, i) -> b.add("b", 65536, true)},
            {"a{} b*+", (Step) (b, i) -> i.write(TestImages.filled(3000, 1), 5000)},
            {"a*+ b*+", (Step) (b, i) -> b.enable("a")},
            {"a*+ b*+", (Step) (b, i) -> i.write(TestImages.filled(300, 1), 500_000)},
            {"a*+ b{0, 7}", (Step) (b, i) -> b.disable("b")},
            {"a*+ b{0, 7}", (Step) (b, i) -> i.write(TestImages.filled(9, 1), 1_000_000)},
            {"a*+ b{0, 7, 15}", (Step) (b, i) -> b.merge("b", "a")},
            {"a{976, 977, 1953} b{0, 7, 15}", (Step) (b, i) -> b.disable("a")},
            {"a{} b{0, 7, 15}", (Step) (b, i) -> b.clear("a")},
            {"b{0, 7, 15}", (Step) (b, i) -> b.remove("a")},
            {"", (Step) (b, i) -> b.remove("b")}
          }) {
        step[0] = state + " to " + each[0];
        allowed = new HashSet<>(List.of(state, (String) each[0], torn ? "" : state));
        ((Step) each[1]).run(bitmaps, image);
        state = (String) each[0];
        storage.content().writeTo(file);
        assertThat(state(file)).isEqualTo(state);
      }
      group.onCall(moment -> {});
    }
    assertThat(crashes.size()).isGreaterThan(100);
    for (Crash crash : crashes) {
      judge(crash, header, file);
    }
  }

  private Path make(int clusterSize, int name, int foreign) throws Exception {
    Path file = folder.resolve("image.qcow2");
    List<Object> words = new ArrayList<>(List.of("create", "-q", "-f", "qcow2", "-u"));
    words.addAll(List.of("-o", "cluster_size=" + clusterSize));
    if (name > 0) {
      words.addAll(List.of("-b", "n".repeat(name), "-F", "raw"));
    }
    words.addAll(List.of(file, 1 << 20));
    Qemu.img(words.toArray());
    if (foreign > 0) {
      var extension = new HeaderExtension(FOREIGN, Bytes.of(new byte[foreign]));
      ByteBuffer header = header(file).with(extension).write();
      try (RandomAccessFile open = new RandomAccessFile(file.toFile(), "rw")) {
        open.write(header.array(), 0, header.limit());
      }
    }
    return file;
  }

  private static HeaderCluster header(Path file) throws IOException {
    try (Storage storage = FileStorage.open(file, FileStorage.Options.readOnly())) {
      return HeaderReader.read(storage);
    }
  }

  private static Image open(CrashStorage storage) throws IOException {
    return Qcow2.open(
        storage,
        Qcow2OpenOptions.defaults().withWritable(true).withReferences(false, true),
        TestImages.FILES);
  }

  private void judge(Crash crash, HeaderCluster before, Path file) throws IOException {
    crash.left().writeTo(file);
    assertThat(state(file)).as(crash.step()).isIn(crash.allowed());
    HeaderCluster left = header(file);
    assertThat(left.rawBackingName()).as(crash.step()).isEqualTo(before.rawBackingName());
    assertThat(left.without(HeaderExtension.BITMAPS).extensions())
        .as(crash.step())
        .isEqualTo(before.extensions());
    try (Storage storage = FileStorage.open(file, FileStorage.Options.readOnly())) {
      CheckResult check = Qcow2.check(storage, Progress.NONE);
      assertThat(check.corruptions()).as("%s: %s", crash.step(), check.findings()).isZero();
    }
  }

  /**
   * Name, then {@code *} if in use, {@code +} if it notes changes; the bits of those not in use.
   */
  private static String state(Path file) throws IOException {
    return StoredBitmap.read(file).stream()
        .map(
            each ->
                each.name()
                    + (each.inUse() ? "*" : "")
                    + (each.auto() ? "+" : "")
                    + (each.inUse() ? "" : each.bits()))
        .collect(Collectors.joining(" "));
  }
}
