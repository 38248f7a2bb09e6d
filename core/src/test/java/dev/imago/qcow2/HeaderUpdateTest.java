package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.SyncMode;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.storage.MemoryStorage;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class HeaderUpdateTest {
  @TempDir private Path folder;

  /** A crash at every storage call, of every kind, leaves the old name and format or the new. */
  @Test
  void aCrashLeavesTheOldBackingFileOrTheNewOne() throws Exception {
    String longName = "long/".repeat(120) + "name";
    for (int version = 2; version <= 3; version++) {
      for (String[] names :
          new String[][] {
            {"old.qcow2", "new.raw"},
            {"old.qcow2", longName},
            {longName, "new.raw"},
            {longName, "new/" + longName},
            {"old.qcow2", ""},
            {"", longName},
          }) {
        crash(image(version, names[0]), names[0], names[1]);
      }
    }
  }

  private CrashImage image(int version, String backing) throws IOException {
    MemoryStorage storage = new MemoryStorage("made");
    Qcow2CreateOptions options = Qcow2CreateOptions.ofSize(1 << 20).withVersion(version, 16);
    if (!backing.isEmpty()) {
      options = options.withBacking(backing, "qcow2");
    }
    Qcow2.create(storage, options, null, SyncMode.NONE);
    ByteBuffer bytes = ByteBuffer.allocate((int) storage.size());
    storage.read(bytes, 0);
    Path file = folder.resolve("made");
    Files.write(file, bytes.array());
    return CrashImage.of(file);
  }

  private static void crash(CrashImage image, String before, String after) throws IOException {
    CrashGroup group = new CrashGroup();
    CrashStorage storage = group.storage("image", image);
    List<Map<String, CrashImage>> crashes = new ArrayList<>();
    SplittableRandom random = new SplittableRandom(before.length() * 31L + after.length());
    group.onCall(
        moment -> {
          for (Bias bias : Bias.values()) {
            for (int i = 0; i < 4; i++) {
              crashes.add(group.crash(random, bias));
            }
          }
        });

    HeaderUpdate.run(storage, cluster -> Amendments.backing(cluster, after, "raw"), true);

    group.onCall(moment -> {});
    assertNames(storage.content(), after, after);
    assertThat(crashes).isNotEmpty();
    for (Map<String, CrashImage> left : crashes) {
      assertNames(left.get("image"), before, after);
    }
  }

  private static void assertNames(@Nullable CrashImage left, String before, String after)
      throws IOException {
    assertThat(left).isNotNull();
    CrashStorage again = new CrashGroup().storage("left", left);
    HeaderCluster cluster = HeaderReader.read(again);
    String name = cluster.backingName().orElse("");
    assertThat(name).isIn(before, after);
    if (!name.isEmpty()) {
      String format = cluster.backingFormat().orElse("");
      assertThat(format)
          .isEqualTo(name.equals(before) ? (before.equals(after) ? "raw" : "qcow2") : "raw");
    }
  }
}
