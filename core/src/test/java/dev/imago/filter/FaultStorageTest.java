package dev.imago.filter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.filter.FaultRule.Inject;
import dev.imago.filter.FaultRule.Request;
import dev.imago.filter.FaultRule.SetState;
import dev.imago.filter.FaultStorage.Limits;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.FileStorage;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FaultStorageTest {
  private static final int CLUSTER = 64 << 10;

  @TempDir Path folder;

  private static FaultStorage over(Storage below, FaultRule... rules) {
    return new FaultStorage(below, List.of(rules), Limits.NONE, said -> {});
  }

  private static ByteBuffer bytes(int length) {
    byte[] bytes = new byte[length];
    new Random(length).nextBytes(bytes);
    return ByteBuffer.wrap(bytes);
  }

  @Test
  void aRuleWithoutEventFailsFromTheBeginningAndOnlyItsRequestsAndSector() throws Exception {
    Storage storage =
        over(
            new MemoryStorage("m"),
            new Inject(BlockEvent.NONE, 0, Set.of(Request.WRITE), 28, 4, false));

    storage.write(bytes(2048), 0);
    storage.read(ByteBuffer.allocate(4096), 0);
    assertThatThrownBy(() -> storage.write(bytes(1), 2048))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("No space left on device");
    storage.write(bytes(1), 2560);
  }

  @Test
  void statesFollowEventsAndOnceMeansOnce() throws Exception {
    FaultStorage storage =
        over(
            new MemoryStorage("m"),
            new SetState(BlockEvent.WRITE_AIO, 1, 2),
            new Inject(BlockEvent.WRITE_AIO, 2, Set.of(Request.values()), 5, -1, true));

    storage.event(BlockEvent.WRITE_AIO);
    storage.write(bytes(1), 0);
    storage.event(BlockEvent.WRITE_AIO);
    assertThatThrownBy(() -> storage.flush()).hasMessageContaining("Input/output error");
    storage.flush();
    storage.event(BlockEvent.WRITE_AIO);
    storage.write(bytes(1), 0);
  }

  /** Whatever a request looks like, the bytes are the same, and below only whole units arrive. */
  @Test
  void limitsChangeNoByte() throws Exception {
    Random random = new Random(5);
    var plain = new MemoryStorage("plain");
    var below = new MemoryStorage("below");
    var limited =
        new FaultStorage(
            below, List.of(), new Limits(512, 2048, 4096, 8192, 4096, 8192), said -> {});
    for (int i = 0; i < 500; i++) {
      int length = random.nextInt(9000);
      long offset = random.nextInt((1 << 16) - length);
      if (random.nextInt(3) == 0) {
        plain.writeZeroes(offset, length, Storage.ZeroMode.SPARSE);
        limited.writeZeroes(offset, length, Storage.ZeroMode.SPARSE);
      } else {
        plain.write(bytes(length), offset);
        limited.write(bytes(length), offset);
      }
      ByteBuffer wanted = ByteBuffer.allocate(length);
      ByteBuffer got = ByteBuffer.allocate(length);
      plain.read(wanted, offset);
      limited.read(got, offset);
      assertThat(got.array()).as("step %d", i).isEqualTo(wanted.array());
    }
    assertThat(limited.size()).isEqualTo(plain.size());
  }

  /**
   * Every event of a write path, made to fail: what was flushed before is there, nothing is lost.
   */
  @Test
  void aFaultAtAnyEventLeavesAnImageThatQemuFindsNoErrorIn() throws Exception {
    List<BlockEvent> met = new ArrayList<>();
    for (BlockEvent event :
        List.of(
            BlockEvent.WRITE_AIO,
            BlockEvent.COW_READ,
            BlockEvent.COW_WRITE,
            BlockEvent.CLUSTER_ALLOC,
            BlockEvent.L2_ALLOC_WRITE,
            BlockEvent.L2_LOAD,
            BlockEvent.L2_UPDATE,
            BlockEvent.L1_UPDATE,
            BlockEvent.REFBLOCK_UPDATE,
            BlockEvent.FLUSH_TO_OS,
            BlockEvent.FLUSH_TO_DISK,
            BlockEvent.PWRITEV)) {
      Path file = folder.resolve(event.word());
      Images.create(file, CreateOptions.of("qcow2", 1L << 30));
      OpenOptions how = OpenOptions.of(References.deny()).writable(true).format("qcow2");
      try (Image image = Images.open(file, how)) {
        image.write(bytes(CLUSTER), 0);
      }
      boolean failed = failing(file, how, event);
      if (failed) {
        met.add(event);
      }
      Qemu.check(file).withoutErrors();
      try (Image image = Images.open(file, how)) {
        ByteBuffer read = ByteBuffer.allocate(CLUSTER);
        image.read(read, 0);
        assertThat(read.array()).as(event.word()).isEqualTo(bytes(CLUSTER).array());
      }
    }
    assertThat(met)
        .contains(
            BlockEvent.WRITE_AIO,
            BlockEvent.L2_UPDATE,
            BlockEvent.L1_UPDATE,
            BlockEvent.L2_ALLOC_WRITE,
            BlockEvent.FLUSH_TO_DISK);
  }

  private static boolean failing(Path file, OpenOptions how, BlockEvent event) throws IOException {
    FaultStorage storage =
        new FaultStorage(
            FileStorage.open(file, FileStorage.Options.readWrite()),
            List.of(new Inject(event, 0, Set.of(Request.values()), 5, -1, false)),
            Limits.NONE,
            said -> {});
    boolean failed = false;
    Image image;
    try {
      image = Images.open(storage, file, how);
    } catch (IOException e) {
      return true;
    }
    try {
      image.write(bytes(100), CLUSTER + 100);
      image.write(bytes(100), 1L << 29);
      image.flush();
    } catch (IOException e) {
      failed = true;
    }
    try {
      image.close();
    } catch (IOException e) {
      failed = true;
    }
    return failed;
  }

  @Test
  void aThreadIsHeldUpUntilItIsResumed() throws Exception {
    List<String> said = new ArrayList<>();
    FaultStorage storage =
        new FaultStorage(new MemoryStorage("m"), List.of(), Limits.NONE, said::add);
    storage.breakAt(BlockEvent.PWRITEV, "A");
    Thread writer =
        Thread.ofPlatform()
            .start(
                () -> {
                  try {
                    storage.write(ByteBuffer.wrap(new byte[] {7}), 0);
                  } catch (IOException e) {
                    throw new IllegalStateException(e);
                  }
                });

    assertThat(storage.awaitBreak("A")).isTrue();
    ByteBuffer one = ByteBuffer.allocate(1);
    storage.read(one, 0);
    assertThat(one.get(0)).isZero();
    assertThat(storage.resume("B")).isFalse();
    assertThat(storage.resume("A")).isTrue();
    writer.join();
    storage.read(one.clear(), 0);
    assertThat(one.get(0)).isEqualTo((byte) 7);
    assertThat(said)
        .containsExactly("blkdebug: Suspended request 'A'", "blkdebug: Resuming request 'A'");
    assertThat(storage.awaitBreak("A")).isFalse();
  }

  @Test
  void copyOnReadCopiesWholeClustersOnceAndChangesNoByte() throws Exception {
    Path base = folder.resolve("base");
    Path top = folder.resolve("top");
    OpenOptions how = OpenOptions.of(References.sameFolder()).writable(true).format("qcow2");
    Images.create(base, CreateOptions.of("qcow2", 1 << 20));
    try (Image image = Images.open(base, how)) {
      image.write(bytes(1 << 20), 0);
    }
    Images.create(top, CreateOptions.of("qcow2", 1 << 20).backing("base", "qcow2"));
    try (Image image = new CopyOnReadImage(Images.open(top, how))) {
      image.write(ByteBuffer.wrap(new byte[] {1, 2, 3}), 3 * CLUSTER);
      image.read(ByteBuffer.allocate(100), CLUSTER + 5);
    }
    assertThat(Qemu.io(top, List.of("alloc 0 1M"))).startsWith("131072/1048576");
    Qemu.check(top).clean();
    ByteBuffer wanted = bytes(1 << 20);
    wanted.put(3 * CLUSTER, new byte[] {1, 2, 3});
    assertThat(Qemu.read(top, folder.resolve("raw"))).isEqualTo(wanted.array());
  }
}
