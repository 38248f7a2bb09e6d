package dev.imago.testing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.Storage.ZeroMode;
import dev.imago.testing.CrashGroup.Bias;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CrashStorageTest {
  private static final int SECTOR = CrashStorage.SECTOR;

  private final CrashGroup group = new CrashGroup();
  private final CrashStorage disk = group.storage("disk");

  @Test
  void readsBackWhatWasWrittenAndZeroesPastTheEnd() throws Exception {
    disk.write(new ByteBuffer[] {bytes(1, 700), bytes(2, 100)}, 300);
    disk.writeZeroes(400, 10, ZeroMode.SPARSE);

    assertThat(disk.size()).isEqualTo(1100);
    byte[] read = read(disk, 1200);
    assertThat(read[299]).isZero();
    assertThat(read[300]).isEqualTo((byte) 1);
    assertThat(read[400]).isZero();
    assertThat(read[410]).isEqualTo((byte) 1);
    assertThat(read[1000]).isEqualTo((byte) 2);
    assertThat(read[1100]).isZero();
  }

  @Test
  void keepsEverythingFlushedWhateverTheBias() throws Exception {
    disk.write(bytes(1, 4 * SECTOR), 0);
    disk.flush();

    for (Bias bias : Bias.values()) {
      CrashImage left = group.crash(new SplittableRandom(1), bias).get("disk");
      assertThat(left.size()).isEqualTo(4 * SECTOR);
      assertThat(read(new CrashGroup().storage("after", left), 4 * SECTOR)).containsOnly(1);
    }
  }

  @Test
  void anyPrefixOfASectorsWritesMayBeWhatIsLeft() throws Exception {
    disk.write(bytes(1, 2 * SECTOR), 0);
    disk.flush();
    disk.write(bytes(2, 2 * SECTOR), 0);
    disk.writeZeroes(0, SECTOR, ZeroMode.SPARSE);
    disk.write(bytes(3, 2 * SECTOR), 0);

    Set<List<Byte>> seen = new HashSet<>();
    RandomGenerator random = new SplittableRandom(2);
    for (int i = 0; i < 400; i++) {
      byte[] left = crashed(random, Bias.RANDOM, 2 * SECTOR);
      seen.add(List.of(left[0], left[SECTOR]));
    }
    assertThat(seen).hasSize(4 * 3);
  }

  @Test
  void theSizeIsKeptOrLostOnItsOwn() throws Exception {
    disk.write(bytes(1, SECTOR), 0);
    disk.flush();
    disk.write(bytes(2, SECTOR), SECTOR);
    disk.resize(SECTOR / 2, Preallocation.OFF);

    Set<Long> sizes = new HashSet<>();
    RandomGenerator random = new SplittableRandom(3);
    for (int i = 0; i < 100; i++) {
      sizes.add(group.crash(random, Bias.RANDOM).get("disk").size());
    }
    assertThat(sizes).containsExactlyInAnyOrder(512L, 1024L, 256L);
  }

  @Test
  void whatIsCutOffIsZeroAfterGrowingAgain() throws Exception {
    disk.write(bytes(1, 2 * SECTOR), 0);
    disk.resize(100, Preallocation.OFF);
    disk.resize(2 * SECTOR, Preallocation.OFF);

    byte[] read = read(disk, 2 * SECTOR);
    assertThat(read[99]).isEqualTo((byte) 1);
    assertThat(read[100]).isZero();
    assertThat(read[SECTOR]).isZero();
  }

  @Test
  void loneSurvivorKeepsExactlyOneSector() throws Exception {
    disk.write(bytes(1, 8 * SECTOR), 0);

    for (int seed = 0; seed < 20; seed++) {
      byte[] left = crashed(new SplittableRandom(seed), Bias.LONE_SURVIVOR, 8 * SECTOR);
      int kept = 0;
      for (int i = 0; i < 8; i++) {
        kept += left[i * SECTOR];
      }
      assertThat(kept).isEqualTo(1);
    }
  }

  @Test
  void oneStorageOfAGroupMayKeepWhatTheOtherLoses() throws Exception {
    CrashStorage other = group.storage("other");
    disk.write(bytes(1, SECTOR), 0);
    other.write(bytes(1, SECTOR), 0);

    Set<String> seen = new HashSet<>();
    for (int seed = 0; seed < 20; seed++) {
      var left = group.crash(new SplittableRandom(seed), Bias.ONE_STORAGE);
      seen.add(left.get("disk").size() + " " + left.get("other").size());
    }
    assertThat(seen).containsExactlyInAnyOrder("512 0", "0 512");
  }

  @Test
  void isToldOfEachCallBeforeItsEffectIsDurable() throws Exception {
    List<String> seen = new ArrayList<>();
    group.onCall(
        m -> {
          long kept = group.crash(new SplittableRandom(1), Bias.NONE).get("disk").size();
          long pending = group.crash(new SplittableRandom(1), Bias.ALL).get("disk").size();
          seen.add("%d %s %s %d %d".formatted(m.number(), m.call(), m.stage(), kept, pending));
        });

    disk.write(bytes(1, SECTOR), 0);
    group.stage("barrier");
    disk.flush();
    disk.discard(0, SECTOR);

    assertThat(seen)
        .containsExactly(
            "1 WRITE guest 0 512", "2 FLUSH barrier 0 512", "3 DISCARD barrier 512 512");
  }

  @Test
  void everyCallFailsOnceTheMachineIsDead() throws Exception {
    disk.write(bytes(1, SECTOR), 0);
    group.dieAt(2);

    assertThatThrownBy(disk::flush).isInstanceOf(CrashedException.class);
    assertThatThrownBy(() -> disk.read(ByteBuffer.allocate(1), 0))
        .isInstanceOf(CrashedException.class)
        .isInstanceOf(IOException.class);
    assertThat(group.crash(new SplittableRandom(1), Bias.NONE).get("disk").size()).isZero();
  }

  @Test
  void partialDiscardUnitsKeepTheirBytes() throws Exception {
    disk.behaving(4096, false).write(bytes(1, 3 * 4096), 0);

    assertThat(disk.discard(100, 4096 + 4096)).isFalse();
    assertThat(disk.run(0, 3 * 4096).length()).isEqualTo(4096);
    assertThat(disk.run(4096, 8192)).isEqualTo(new dev.imago.storage.Storage.Run(false, 4096));
    assertThat(disk.discard(8192, 4096)).isTrue();
    assertThat(disk.allocatedBytes()).isEqualTo(4096);
  }

  @Test
  void judgesAtCloseWhenCrashingIsStillPossible() throws Exception {
    List<Long> sizes = new ArrayList<>();
    disk.onClose(
        d -> sizes.add(group.crash(new SplittableRandom(1), Bias.NONE).get("disk").size()));
    disk.write(bytes(1, SECTOR), 0);
    disk.close();
    disk.close();

    assertThat(sizes).containsExactly(0L);
    assertThatThrownBy(() -> disk.size()).hasMessage("disk: used after it was closed");
  }

  @Test
  void writesWhatACrashLeftToAFile(@TempDir Path folder) throws Exception {
    disk.write(bytes(1, SECTOR), 3 * SECTOR);
    disk.write(bytes(2, 100), 1 << 20);
    Path file = folder.resolve("left");
    disk.content().writeTo(file);

    byte[] left = Files.readAllBytes(file);
    assertThat(left).hasSize((1 << 20) + 100);
    assertThat(left).isEqualTo(read(disk, left.length));
  }

  private byte[] crashed(RandomGenerator random, Bias bias, int length) throws IOException {
    CrashImage left = group.crash(random, bias).get("disk");
    return read(new CrashGroup().storage("after", left), length);
  }

  private static byte[] read(CrashStorage storage, int length) throws IOException {
    ByteBuffer dst = ByteBuffer.allocate(length);
    storage.read(dst, 0);
    return dst.array();
  }

  private static ByteBuffer bytes(int value, int length) {
    byte[] bytes = new byte[length];
    java.util.Arrays.fill(bytes, (byte) value);
    return ByteBuffer.wrap(bytes);
  }
}
