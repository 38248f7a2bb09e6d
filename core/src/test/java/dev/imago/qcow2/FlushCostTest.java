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
    open(file);
  }

  private void open(Path file) throws IOException {
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

  /** Barriers and writes of metadata, of ten times a change and a flush. */
  private record Cost(long barriers, long writes) {}

  private Cost costOfTen(Change change) throws IOException {
    long barriers = storage.calls(StorageCall.FLUSH);
    long writes = storage.calls(StorageCall.WRITE);
    for (int i = 0; i < 10; i++) {
      change.at((i + 1L) * CLUSTER);
      image.flush();
    }
    return new Cost(
        storage.calls(StorageCall.FLUSH) - barriers, storage.calls(StorageCall.WRITE) - writes);
  }

  private interface Change {
    void at(long guestOffset) throws IOException;
  }

  @Test
  void lazyRefcountsSaveAWriteOfEachFlush() throws Exception {
    Cost exact = allocating();
    image.close();
    Path lazy = folder.resolve("lazy.qcow2");
    Qemu.img("create", "-f", "qcow2", "-o", "lazy_refcounts=on", lazy, "2G");
    open(lazy);
    Cost late = allocating();

    // Guest data must be safe before an entry leads there, with or without counts beside it.
    assertThat(exact).isEqualTo(new Cost(20, 20));
    assertThat(late).isEqualTo(new Cost(20, 10));
  }

  private Cost allocating() throws IOException {
    image.write(filled(4096, 1), 0);
    image.flush();
    return costOfTen(at -> image.write(new ByteBuffer[] {filled(4096, 1)}, at, false));
  }

  @Test
  void lazyRefcountsSaveTheBarrierOfCountsWhereNoDataIsWritten() throws Exception {
    Cost exact = discarding();
    image.close();
    Path lazy = folder.resolve("lazy.qcow2");
    Qemu.img("create", "-f", "qcow2", "-o", "lazy_refcounts=on", lazy, "2G");
    open(lazy);
    Cost late = discarding();

    assertThat(exact).isEqualTo(new Cost(20, 20));
    assertThat(late).isEqualTo(new Cost(10, 10));
  }

  private Cost discarding() throws IOException {
    image.write(filled(11 * CLUSTER, 1), 0);
    image.flush();
    image.discard(0, CLUSTER, Image.Discard.TO_ZERO);
    image.flush();
    return costOfTen(at -> image.discard(at, CLUSTER, Image.Discard.TO_ZERO));
  }
}
