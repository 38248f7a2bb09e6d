package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.References;
import dev.imago.qcow2.Qcow2;
import dev.imago.storage.Storage;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.LongUnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The machine dies while a disk is copied onto another one by the storages: each byte is an old one
 * or a new one, and nothing of what the file held before shows through.
 */
class ConvertCrashTest {
  private static final int SEEDS = Boolean.getBoolean("imago.long") ? 60 : 6;
  private static final int SIZE = 256 << 10;

  @TempDir private Path folder;

  /** What a target holds before: data, and zeroes whose places keep something else. */
  private CrashImage target(SplittableRandom random, byte[] old) throws IOException {
    Path path = folder.resolve("target");
    CreateOptions options =
        CreateOptions.of("qcow2", SIZE).clusterSize(512 << 3 * random.nextInt(3));
    if (random.nextInt(3) == 0) {
      options = options.clusterSize(16384).extendedL2(true);
    }
    try (Image image = Disks.created(path, options)) {
      byte[] noise = new byte[SIZE];
      random.nextBytes(noise);
      image.write(ByteBuffer.wrap(noise), 0);
      image.flush();
      image.discard(0, SIZE, Image.Discard.TO_ZERO_KEEPING_SPACE);
      image.write(ByteBuffer.wrap(old, 0, SIZE / 2), 0);
    }
    Arrays.fill(old, SIZE / 2, SIZE, (byte) 0);
    return CrashImage.of(path);
  }

  private static LongUnaryOperator someOf(SplittableRandom random) {
    return random.nextBoolean()
        ? length -> length
        : length -> length <= 1024 ? 0 : length / 1024 * 512;
  }

  private static Image open(Storage storage) throws IOException {
    return Images.open(storage, OpenOptions.of(References.deny()).format("qcow2").writable(true));
  }

  @Test
  void everyByteIsOldOrNew() throws Exception {
    long copied = 0;
    int crashes = 0;
    for (long seed = 1; seed <= SEEDS; seed++) {
      var random = new SplittableRandom(seed);
      byte[] old = Disks.random(seed, SIZE);
      byte[] fresh = Disks.random(-seed, SIZE);
      var group = new CrashGroup();
      CrashStorage disk = group.storage("target", target(random, old));
      List<CrashImage> left = new ArrayList<>();
      var storage = new CopyingStorage(disk, someOf(random));
      try (Image source = Disks.memory(fresh);
          Image target = open(storage)) {
        group.onCall(
            moment -> {
              Bias bias = Bias.values()[random.nextInt(Bias.values().length)];
              left.add(group.crash(random, bias).get("target"));
            });
        Convert.from(source).offload(true).parallelism(1).to(target);
        group.onCall(moment -> {});
        assertShows(group.crash(random, Bias.ALL).get("target"), fresh, fresh);
      }
      for (CrashImage each : left) {
        assertShows(each, old, fresh);
      }
      crashes += left.size();
      copied += storage.copied.get();
    }
    assertThat(copied).isGreaterThan(SEEDS * SIZE / 4);
    assertThat(crashes).isGreaterThan(SEEDS * 10);
  }

  private static void assertShows(CrashImage content, byte[] old, byte[] fresh) throws IOException {
    try (CrashStorage storage = new CrashGroup().storage("target", content)) {
      assertThat(Qcow2.check(storage, Progress.NONE).corruptions()).isZero();
    }
    byte[] sees;
    try (Image image = open(new CrashGroup().storage("target", content))) {
      sees = Disks.read(image);
    }
    for (int i = 0; i < SIZE; i++) {
      if (sees[i] != old[i] && sees[i] != fresh[i]) {
        assertThat(sees[i]).as("byte %d", i).isIn(old[i], fresh[i]);
      }
    }
  }
}
