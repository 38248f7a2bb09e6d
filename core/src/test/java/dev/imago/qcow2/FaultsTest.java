package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The host fails: the guest is told, and the image stays whole. */
class FaultsTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int CLUSTER = 4096;
  private static final int SIZE = 16 << 20;

  @TempDir private Path folder;
  private Path file;
  private FaultyStorage storage;
  private Image image;

  @BeforeEach
  void openFreshImage() throws Exception {
    file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", file, SIZE);
    storage = TestImages.faulty(file);
    image = TestImages.open(storage);
  }

  @Test
  void aFailedFlushIsFinal() throws Exception {
    image.write(TestImages.filled(CLUSTER, 1), 0);
    image.flush();
    image.write(TestImages.filled(CLUSTER, 2), CLUSTER);
    storage.failNth(StorageCall.FLUSH, storage.calls(StorageCall.FLUSH) + 1);

    assertThatThrownBy(() -> image.flush()).hasMessageContaining("Input/output error");
    storage.heal();
    assertThatThrownBy(() -> image.flush()).isInstanceOf(IOException.class);
    assertThatThrownBy(() -> image.write(TestImages.filled(CLUSTER, 3), 2 * CLUSTER))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("earlier failure");
    assertThatThrownBy(() -> image.close()).isInstanceOf(IOException.class);

    assertThat(storage.closed()).isTrue();
    Qemu.check(file).withoutErrors();
    try (Image again = TestImages.open(file)) {
      assertThat(TestImages.read(again, 0, CLUSTER)).containsOnly(1);
      again.write(TestImages.filled(CLUSTER, 4), 3 * CLUSTER);
    }
    Qemu.check(file).withoutErrors();
  }

  @Test
  void aFailedMetadataWriteIsFinalToo() throws Exception {
    image.write(TestImages.filled(CLUSTER, 1), 0);
    long writes = storage.calls(StorageCall.WRITE);
    storage.failWhen(r -> r.call() == StorageCall.WRITE && r.number() > writes);

    assertThatThrownBy(() -> image.flush()).hasMessageContaining("Input/output error");
    storage.heal();
    assertThatThrownBy(() -> image.write(TestImages.filled(CLUSTER, 3), 2 * CLUSTER))
        .hasMessageContaining("earlier failure");
    assertThatThrownBy(() -> image.close()).isInstanceOf(IOException.class);
    Qemu.check(file).withoutErrors();
  }

  @Test
  void aGuestWriteThatFailsLinksNothingAndLeaksNothing() throws Exception {
    image.write(TestImages.filled(CLUSTER, 1), 0);
    storage.cutShortWhen(r -> r.call() == StorageCall.WRITE || r.call() == StorageCall.WRITEV);

    assertThatThrownBy(() -> image.write(TestImages.filled(3 * CLUSTER, 2), CLUSTER))
        .hasMessageContaining("Input/output error");
    storage.heal();
    assertThat(TestImages.read(image, CLUSTER, 3 * CLUSTER)).containsOnly(0);
    image.write(TestImages.filled(CLUSTER, 3), 2 * CLUSTER);
    image.close();

    Qemu.check(file).clean();
    byte[] seen = Qemu.read(file, folder.resolve("scratch"));
    assertThat(Arrays.copyOfRange(seen, 0, CLUSTER)).containsOnly(1);
    assertThat(Arrays.copyOfRange(seen, CLUSTER, 2 * CLUSTER)).containsOnly(0);
    assertThat(Arrays.copyOfRange(seen, 2 * CLUSTER, 3 * CLUSTER)).containsOnly(3);
  }

  /** The disk is full at every possible place once. */
  @ParameterizedTest
  @ValueSource(longs = {0, 4096, 8192, 20480, 65536, 300_000, 1_000_000})
  void aFullDiskMeetsTheWriteThatCausedIt(long room) throws Exception {
    ByteOracle oracle = new ByteOracle(SIZE);
    SplittableRandom random = new SplittableRandom(room);
    storage.fullAfter(room);
    int refused = 0;
    for (int i = 1; i <= (LONG ? 2000 : 400) && refused < 20; i++) {
      long at = random.nextInt(SIZE / 512) * 512L;
      byte[] bytes = new byte[(int) Math.min(SIZE - at, 512L * (1 + random.nextInt(40)))];
      Arrays.fill(bytes, (byte) i);
      ByteOracle.Change change = oracle.writing(at, bytes);
      try {
        image.write(ByteBuffer.wrap(bytes), at);
        change.done();
      } catch (IOException e) {
        assertThat(e).hasMessageContaining("No space left on device");
        refused++;
      }
      if (i % 10 == 0) {
        image.flush();
      }
    }
    assertThat(refused).isPositive();
    oracle.verify(image);
    image.flush();
    image.close();

    Qemu.check(file).clean();
    try (Image again = TestImages.open(file)) {
      oracle.verify(again);
      again.write(TestImages.filled(CLUSTER, 9), 0);
    }
    Qemu.check(file).clean();
  }

  /** Every storage call of a small script fails once. */
  @Test
  void whicheverCallFailsTheImageStaysWhole() throws Exception {
    image.close();
    int limit = LONG ? 400 : 40;
    int calls = 0;
    for (StorageCall call : StorageCall.values()) {
      for (int number = 1; number <= limit; number++) {
        if (!failing(call, number)) {
          break;
        }
        calls++;
      }
    }
    assertThat(calls).isGreaterThan(40);
  }

  /** Whether the call that was to fail was made at all. */
  private boolean failing(StorageCall call, int number) throws Exception {
    Path path = folder.resolve("failing.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", path, 1 << 20);
    FaultyStorage faulty = TestImages.faulty(path);
    faulty.failNth(call, number);
    ByteOracle oracle = new ByteOracle(1 << 20);
    try (Image open = TestImages.open(faulty)) {
      SplittableRandom random = new SplittableRandom(number);
      for (int i = 1; i <= 40; i++) {
        long at = random.nextInt(2000) * 512L;
        byte[] bytes = new byte[512 * (1 + random.nextInt(20))];
        Arrays.fill(bytes, (byte) i);
        switch (random.nextInt(5)) {
          case 0 -> {
            ByteOracle.Change change = oracle.zeroing(at, bytes.length);
            open.writeZeroes(at, bytes.length, true, false);
            change.done();
          }
          case 1 -> {
            long begun = oracle.flushing();
            open.flush();
            oracle.flushed(begun);
          }
          case 2 -> oracle.check(at, TestImages.read(open, at, bytes.length));
          default -> {
            ByteOracle.Change change = oracle.writing(at, bytes);
            open.write(ByteBuffer.wrap(bytes), at);
            change.done();
          }
        }
      }
    } catch (IOException e) {
      assertThat(e).hasMessageContaining("Input/output error");
    }
    boolean made = faulty.calls(call) >= number;
    Qemu.check(path).withoutErrors();
    try (Image again = TestImages.open(path)) {
      oracle.verifyCrashed(again);
    } catch (AssertionError e) {
      throw new AssertionError("%s %d failed: %s".formatted(call, number, e.getMessage()), e);
    }
    return made;
  }
}
