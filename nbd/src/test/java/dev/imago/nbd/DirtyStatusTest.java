package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.qcow2.Qcow2;
import dev.imago.qcow2.Qcow2CreateOptions;
import dev.imago.storage.MemoryStorage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class DirtyStatusTest {
  private static final int CLUSTER = 64 << 10;

  /** Every second cluster from the second one on is dirty, so far as {@code dirty} of them. */
  private static MemoryStorage disk(int dirty) throws IOException {
    MemoryStorage disk = new MemoryStorage("disk");
    Qcow2.create(disk, Qcow2CreateOptions.ofSize(Served.SIZE), null);
    try (Image image = open(new FaultyStorage(disk))) {
      Qcow2.bitmaps(image).add("b", CLUSTER, true);
      for (int i = 0; i < dirty; i++) {
        image.write(ByteBuffer.allocate(CLUSTER), (2L * i + 1) * CLUSTER);
      }
    }
    return disk;
  }

  private static Image open(FaultyStorage disk) throws IOException {
    return Images.open(disk, OpenOptions.of(References.deny()).format("qcow2").writable(true));
  }

  private static List<StatusExtent> walk(StatusSource source, long offset, long length)
      throws IOException {
    List<StatusExtent> extents = new ArrayList<>();
    for (long at = 0; at < length; at += extents.getLast().length()) {
      extents.add(source.at(offset + at, length - at));
    }
    return extents;
  }

  @Test
  void bitmapOnTheDiskIsReadOnceForAReplyAndNotForEachExtent() throws Exception {
    FaultyStorage disk = new FaultyStorage(disk(30));
    try (Image image = open(disk)) {
      StatusSource source = new DirtyStatus(Qcow2.bitmaps(image), "b", 0);
      StatusSource first = source.fresh();
      StatusSource second = source.fresh();
      long before = reads(disk);
      first.at(0, Served.SIZE);
      long once = reads(disk) - before;

      List<StatusExtent> extents = walk(second, 0, Served.SIZE);

      assertThat(extents).hasSize(61);
      assertThat(reads(disk) - before).isEqualTo(2 * once);
      assertThat(once).isPositive();
    }
  }

  private static long reads(FaultyStorage disk) {
    return disk.calls(StorageCall.READ);
  }

  @Test
  void partOfADiskIsToldFromItsFirstByteToItsLast() throws Exception {
    try (Image image = open(new FaultyStorage(disk(2)))) {
      StatusSource source = new DirtyStatus(Qcow2.bitmaps(image), "b", 512).fresh();

      assertThat(walk(source, CLUSTER, 2 * CLUSTER + 100))
          .containsExactly(
              new StatusExtent(CLUSTER - 512, MetaContext.DIRTY),
              new StatusExtent(CLUSTER, 0),
              new StatusExtent(612, MetaContext.DIRTY));
    }
  }
}
