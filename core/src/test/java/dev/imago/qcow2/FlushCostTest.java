package dev.imago.qcow2;

import static dev.imago.qcow2.TestImages.filled;
import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** How many barriers of the host each kind of flush takes. */
class FlushCostTest {
  private static final int CLUSTER = 65536;

  @TempDir Path folder;
  private FaultyStorage storage;
  private Image image;

  @BeforeEach
  void openFreshImage() throws Exception {
    Path file = folder.resolve("image.qcow2");
    Qemu.img("create", "-f", "qcow2", file, "2G");
    storage = TestImages.faulty(file);
    image = TestImages.open(storage);
  }

  @AfterEach
  void close() throws IOException {
    image.close();
  }

  private long barriersOfAFlush() throws IOException {
    long before = storage.calls(StorageCall.FLUSH);
    image.flush();
    return storage.calls(StorageCall.FLUSH) - before;
  }

  @Test
  void aFlushAfterNothingCostsNothing() throws Exception {
    assertThat(barriersOfAFlush()).isZero();
  }

  @Test
  void aFirstWriteIntoANewTableCostsThree() throws Exception {
    image.write(filled(4096, 1), 0);
    assertThat(barriersOfAFlush()).isEqualTo(3);
  }

  @Test
  void aFirstWriteIntoAClusterCostsTwo() throws Exception {
    image.write(filled(4096, 1), 0);
    image.flush();
    image.write(filled(4096, 1), CLUSTER);
    assertThat(barriersOfAFlush()).isEqualTo(2);
  }

  @Test
  void aWriteInPlaceCostsOne() throws Exception {
    image.write(filled(4096, 1), 0);
    image.flush();
    image.write(filled(4096, 2), 8192);
    assertThat(barriersOfAFlush()).isEqualTo(1);
  }

  @Test
  void aSecondFlushCostsNothingEvenAfterSpaceWasGivenBack() throws Exception {
    image.write(filled(CLUSTER, 1), 0);
    image.flush();
    image.discard(0, CLUSTER, Image.Discard.TO_ZERO);
    assertThat(barriersOfAFlush()).isEqualTo(1);
    assertThat(barriersOfAFlush()).isZero();
  }

  @Test
  void aFuaWriteInPlaceOnADurableMappingIsOneBarrier() throws Exception {
    image.write(filled(4096, 1), 0);
    image.flush();
    long before = storage.calls(StorageCall.FLUSH);
    image.write(new ByteBuffer[] {filled(4096, 2)}, 512, true);
    assertThat(storage.calls(StorageCall.FLUSH) - before).isEqualTo(1);
  }

  @Test
  void aFuaWriteOnAMappingThatIsNotDurableMakesItSo() throws Exception {
    image.write(filled(4096, 1), 0);
    long before = storage.calls(StorageCall.FLUSH);
    image.write(new ByteBuffer[] {filled(4096, 2)}, 512, true);
    assertThat(storage.calls(StorageCall.FLUSH) - before).isEqualTo(3);
  }

  @Test
  void readsAndInPlaceWritesNeedNoBarrier() throws Exception {
    image.write(filled(4096, 1), 0);
    image.flush();
    long before = storage.calls(StorageCall.FLUSH);
    for (int i = 0; i < 100; i++) {
      image.write(filled(512, i), 512L * i);
      TestImages.read(image, 0, 4096);
    }
    assertThat(storage.calls(StorageCall.FLUSH) - before).isZero();
  }
}
