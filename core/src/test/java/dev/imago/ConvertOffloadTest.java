package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.filter.CopyOnReadImage;
import dev.imago.filter.ThrottleGroup;
import dev.imago.filter.ThrottledImage;
import dev.imago.image.Image;
import dev.imago.image.LuksOptions;
import dev.imago.image.References;
import dev.imago.image.Secret;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.OpenFiles;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.LongUnaryOperator;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Copies that are left to storages as far as they do them. */
class ConvertOffloadTest {
  private static final int SIZE = (6 << 20) + 5 * 512;

  @TempDir Path folder;

  @AfterEach
  void nothingIsLeftOpen() throws IOException {
    assertThat(OpenFiles.below(folder)).isEmpty();
  }

  private static OpenOptions open(String format) {
    return OpenOptions.of(References.sameFolder()).format(format);
  }

  private static void convert(
      Path from, String format, UnaryOperator<Convert> with, Path to, CreateOptions options)
      throws IOException {
    try (Image source = Images.open(from, open(format))) {
      with.apply(Convert.from(source).offload(true)).to(to, options);
    }
  }

  @ParameterizedTest(name = "clusters of {0} and {1}, extended L2 {2}, {3} threads, in order {4}")
  @CsvSource({
    "512, 4096, false, 2, false",
    "4096, 65536, false, 1, false",
    "65536, 65536, true, 3, false",
    "65536, 512, false, 2, true",
    "2097152, 16384, true, 4, true",
    "16384, 2097152, false, 3, true"
  })
  void copiesThroughTwoImagesAndBackAreTheSame(
      int first, int second, boolean extended, int threads, boolean inOrder) throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), Disks.random(first + second, SIZE));
    Path b = folder.resolve("b.qcow2");
    Path c = folder.resolve("c.qcow2");
    Path back = folder.resolve("d.raw");
    UnaryOperator<Convert> with = x -> x.parallelism(threads).deterministic(inOrder);
    var qcow2 = CreateOptions.of("qcow2", 0);

    convert(raw, "raw", with, b, qcow2.clusterSize(first));
    convert(b, "qcow2", with, c, qcow2.clusterSize(second).extendedL2(extended));
    convert(c, "qcow2", with, back, CreateOptions.of("raw", 0));

    Qemu.check(b).clean();
    Qemu.check(c).clean();
    Qemu.img("compare", "-f", "raw", "-F", "qcow2", raw, b);
    Qemu.img("compare", "-f", "raw", "-F", "qcow2", raw, c);
    assertThat(Files.mismatch(raw, back)).isEqualTo(-1);
    if (inOrder) {
      Path again = folder.resolve("again.qcow2");
      convert(b, "qcow2", with, again, qcow2.clusterSize(second).extendedL2(extended));
      assertThat(Files.mismatch(c, again)).isEqualTo(-1);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 511, 513, 4095, 70_000, 2_097_153})
  void aRawFileThatEndsWithinASectorIsCopiedWhole(int length) throws Exception {
    byte[] bytes = new byte[length];
    Arrays.fill(bytes, (byte) 6);
    Path raw = Files.write(folder.resolve("odd.raw"), bytes);
    Path qcow2 = folder.resolve("copy.qcow2");
    Path copy = folder.resolve("copy.raw");

    convert(raw, "raw", c -> c, qcow2, CreateOptions.of("qcow2", 0));
    convert(raw, "raw", c -> c, copy, CreateOptions.of("raw", 0));

    assertThat(Qemu.img("compare", "-f", "qcow2", "-F", "raw", qcow2, raw))
        .isEqualTo("Images are identical.\n");
    assertThat(Files.readAllBytes(copy))
        .isEqualTo(Arrays.copyOf(bytes, (length + 511) / 512 * 512));
  }

  @ParameterizedTest
  @ValueSource(ints = {4096, 65536, 2097152})
  void clustersOfAllKindsAreCopied(int clusterSize) throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), Disks.random(7, SIZE));
    Path mixed = folder.resolve("b.qcow2");
    Qemu.img("convert", "-c", "-O", "qcow2", "-f", "raw", raw, mixed);
    Qemu.io(
        mixed,
        List.of("write -P 1 64k 300k", "write -z 1M 64k", "write -P 2 2M 1M", "discard 5M 64k"));
    Path copy = folder.resolve("c.qcow2");

    convert(mixed, "qcow2", c -> c, copy, CreateOptions.of("qcow2", 0).clusterSize(clusterSize));

    Qemu.check(copy).clean();
    Qemu.img("compare", mixed, copy);
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aChainIsFlattenedOrItsTopLayerCopied(boolean keepBacking) throws Exception {
    Path base = Disks.raw(folder.resolve("base.raw"), Disks.random(11, 4 << 20));
    Path mid = folder.resolve("mid.qcow2");
    Path top = folder.resolve("top.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", mid, 4 << 20);
    Qemu.io(mid, List.of("write -P 1 64k 200k", "write -z 1M 64k"));
    Qemu.img("create", "-q", "-f", "qcow2", "-b", mid, "-F", "qcow2", top, 5 << 20);
    Qemu.io(top, List.of("write -P 2 100k 400k", "write -z 2M 128k", "write -P 3 4500k 7k"));
    Path copy = folder.resolve("copy.qcow2");
    var options = CreateOptions.of("qcow2", 0).clusterSize(16384);

    convert(
        top,
        "qcow2",
        c -> c.keepBacking(keepBacking).references(References.sameFolder()),
        copy,
        keepBacking ? options.backing("mid.qcow2", "qcow2") : options);

    Qemu.check(copy).clean();
    Qemu.img("compare", top, copy);
  }

  /** What a file has lost at its end reads as zero. */
  @Test
  void aFileThatWasCutOffIsCopiedAsItReads() throws Exception {
    byte[] bytes = new byte[3 << 20];
    new SplittableRandom(3).nextBytes(bytes);
    Path qcow2 = folder.resolve("b.qcow2");
    try (Image image = Disks.created(qcow2, CreateOptions.of("qcow2", bytes.length))) {
      image.write(ByteBuffer.wrap(bytes), 0);
    }
    try (FileChannel file = FileChannel.open(qcow2, StandardOpenOption.WRITE)) {
      file.truncate(file.size() - 1_000_000);
    }
    byte[] seen = Disks.read(qcow2);
    assertThat(seen).isNotEqualTo(bytes);

    for (String format : List.of("raw", "qcow2")) {
      Path copy = folder.resolve("copy." + format);
      convert(qcow2, "qcow2", c -> c, copy, CreateOptions.of(format, 0));
      assertThat(Disks.read(copy)).isEqualTo(seen);
    }
  }

  @Test
  void partsOfADiskOfAnyAlignmentAreCopied() throws Exception {
    byte[] bytes = Disks.random(11, SIZE);
    Path raw = Disks.raw(folder.resolve("a.raw"), bytes);
    var random = new SplittableRandom(11);
    for (int run = 0; run < 12; run++) {
      Path copy = folder.resolve("copy");
      int from = random.nextInt(SIZE);
      int length = random.nextInt(SIZE - from);
      String format = random.nextBoolean() ? "raw" : "qcow2";
      int sparse = random.nextBoolean() ? 0 : 4096;
      convert(
          raw,
          "raw",
          c -> c.range(from, length).sparseSize(sparse),
          copy,
          CreateOptions.of(format, 0));
      int end = (length + 511) / 512 * 512;
      byte[] expected = Arrays.copyOf(Arrays.copyOfRange(bytes, from, from + length), end);
      try (Image image = Images.open(copy, open(format))) {
        assertThat(Disks.read(image)).as("%d + %d", from, length).isEqualTo(expected);
      }
    }
  }

  @Test
  void dataFilesAndEncryptedImagesAreCopied() throws Exception {
    byte[] bytes = Disks.random(5, SIZE);
    Path raw = Disks.raw(folder.resolve("a.raw"), bytes);
    Path plain = folder.resolve("plain.qcow2");
    Path locked = folder.resolve("locked.qcow2");
    Path back = folder.resolve("back.raw");
    var secret = new Secret("key".getBytes(StandardCharsets.UTF_8));
    var luks = LuksOptions.of(secret).withIterationMillis(10);

    var qcow2 = CreateOptions.of("qcow2", 0);
    UnaryOperator<Convert> with = c -> c.references(References.sameFolder());
    convert(raw, "raw", with, plain, qcow2.dataFile("plain.data", true));
    convert(plain, "qcow2", with, locked, qcow2.luks(luks));
    try (Image source = Images.open(locked, open("qcow2").key(secret))) {
      Convert.from(source).offload(true).to(back, CreateOptions.of("raw", 0));
    }

    assertThat(Disks.read(plain)).isEqualTo(bytes);
    assertThat(Files.readAllBytes(folder.resolve("plain.data"))).isEqualTo(bytes);
    assertThat(Files.readAllBytes(back)).isEqualTo(bytes);
  }

  /** A disk that is full of ones, and longer than what is copied. */
  private Image target(Storage storage, String format) throws IOException {
    Images.create(storage, CreateOptions.of(format, SIZE + 12_345 * 512).clusterSize(16384));
    Image target = Images.open(storage, open(format).writable(true));
    byte[] ones = new byte[(int) target.size()];
    Arrays.fill(ones, (byte) 1);
    target.write(ByteBuffer.wrap(ones), 0);
    return target;
  }

  private void copyInto(Image target, byte[] bytes, UnaryOperator<Convert> with)
      throws IOException {
    byte[] expected = new byte[(int) target.size()];
    Arrays.fill(expected, (byte) 1);
    System.arraycopy(bytes, 0, expected, 0, bytes.length);
    Path raw = Disks.raw(folder.resolve("source.raw"), bytes);
    try (Image source = Images.open(raw, open("raw"))) {
      with.apply(Convert.from(source).offload(true)).to(target);
    }
    assertThat(Disks.read(target)).isEqualTo(expected);
  }

  @ParameterizedTest(name = "{0}, {1}")
  @CsvSource({"raw, ALL", "qcow2, ALL", "raw, SOME", "qcow2, SOME", "raw, ODD", "qcow2, ODD"})
  void aStorageMayStopAnywhere(String format, Stops stops) throws Exception {
    byte[] bytes = Disks.random(21, SIZE);
    var storage = new CopyingStorage(new MemoryStorage("target"), stops);
    try (Image target = target(storage, format)) {
      copyInto(target, bytes, c -> c.parallelism(3));
    }
    assertThat(storage.copied.get()).isPositive();
  }

  /** How a storage copies. */
  private enum Stops implements LongUnaryOperator {
    /** Everything. */
    ALL,
    /** The first half, and then the half of the rest, as long as that is more than a sector. */
    SOME,
    /** No whole number of sectors. */
    ODD;

    @Override
    public long applyAsLong(long length) {
      return switch (this) {
        case ALL -> length;
        case SOME -> length <= 1024 ? 0 : length / 2;
        case ODD -> Math.min(length, 5555) % 5000;
      };
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"raw", "qcow2"})
  void wholeClustersAreCopiedWithoutALookAtThem(String format) throws Exception {
    byte[] bytes = new byte[SIZE];
    Arrays.fill(bytes, 0, SIZE / 2, (byte) 4);
    var storage = new CopyingStorage(new MemoryStorage("target"), length -> length);
    try (Image target = target(storage, format);
        Image source = Disks.memory(bytes)) {
      long written = storage.asked.get();
      Convert.from(source).offload(true).to(target);

      assertThat(Arrays.copyOf(Disks.read(target), SIZE)).isEqualTo(bytes);
      assertThat(storage.asked.get()).isGreaterThan(written);
      assertThat(storage.copied.get()).isBetween((long) SIZE - 2 * 16384, (long) SIZE);
    }
  }

  @Test
  void aStorageThatCopiesNothingIsNotAskedAgain() throws Exception {
    byte[] bytes = Disks.random(22, SIZE);
    var storage = new CopyingStorage(new MemoryStorage("target"), length -> 0);
    try (Image target = target(storage, "qcow2")) {
      copyInto(target, bytes, c -> c.parallelism(1));
    }
    assertThat(storage.asked.get()).isBetween(1L, 20L);
  }

  @Test
  void aFilterIsNotPassedBy() throws Exception {
    byte[] bytes = Disks.random(23, SIZE);
    var storage = new CopyingStorage(new MemoryStorage("target"), length -> length);
    try (Image target = target(storage, "qcow2");
        Image slow = new ThrottledImage(Disks.memory(bytes), new ThrottleGroup(List.of(), 0));
        Image copying = new CopyOnReadImage(Disks.memory(bytes))) {
      for (Image source : List.of(slow, copying)) {
        Convert.from(source).offload(true).to(target);
        assertThat(Arrays.copyOf(Disks.read(target), SIZE)).isEqualTo(bytes);
      }
    }
    assertThat(storage.asked.get()).isZero();
  }

  /** The kernel cannot be asked to look at them, so they go by a write. */
  @Test
  void theFirstBytesOfAProbedRawImageAreStillLookedAt() throws Exception {
    var storage = new CopyingStorage(new MemoryStorage("target"), length -> length);
    storage.write(ByteBuffer.allocate(SIZE), 0);
    byte[] bytes = Disks.random(24, SIZE);
    System.arraycopy(new byte[] {'Q', 'F', 'I', (byte) 0xfb, 0, 0, 0, 3}, 0, bytes, 0, 8);
    try (Image source = Disks.memory(bytes);
        Image target = Images.open(storage, OpenOptions.of(References.deny()).writable(true))) {
      assertThatThrownBy(() -> Convert.from(source).offload(true).to(target))
          .isInstanceOf(ConvertException.class)
          .hasCauseInstanceOf(AccessDeniedException.class);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"raw", "qcow2"})
  void anUnreadableSourceRemovesTheTarget(String format) throws Exception {
    var faulty = new FaultyStorage(new MemoryStorage("source"));
    byte[] bytes = new byte[8 << 20];
    Arrays.fill(bytes, (byte) 3);
    faulty.write(ByteBuffer.wrap(bytes), 0);
    faulty.failWhen(r -> r.call() == StorageCall.READ && r.touches(5 << 20, 1));
    Path target = folder.resolve("target");

    try (Image source = Images.open(faulty, open("raw"))) {
      for (boolean inOrder : List.of(false, true)) {
        assertThatThrownBy(
                () ->
                    Convert.from(source)
                        .offload(true)
                        .deterministic(inOrder)
                        .to(target, CreateOptions.of(format, 0)))
            .isInstanceOfSatisfying(
                ConvertException.class,
                e -> {
                  assertThat(e.writing()).isFalse();
                  assertThat(e.guestOffset()).isEqualTo(5 << 20);
                })
            .hasMessageStartingWith("error while reading at byte 5242880: ");
        assertThat(target).doesNotExist();
      }
    }
  }

  /** The copying stops at the place, and the write that follows tells why. */
  @Test
  void aFullTargetIsReportedAndGoesOnBeingWhole() throws Exception {
    var full = new FaultyStorage(new MemoryStorage("target"));
    var storage = new CopyingStorage(full, length -> length > 65536 ? length / 2 : 0);
    byte[] bytes = new byte[SIZE];
    Arrays.fill(bytes, (byte) 3);
    Images.create(storage, CreateOptions.of("qcow2", SIZE));
    try (Image source = Disks.memory(bytes);
        Image target = Images.open(storage, open("qcow2").writable(true))) {
      full.failWhen(
          r -> r.call() == StorageCall.WRITE && r.hostOffset() > 3 << 20 && r.length() <= 65536);
      assertThatThrownBy(() -> Convert.from(source).offload(true).parallelism(1).to(target))
          .isInstanceOfSatisfying(ConvertException.class, e -> assertThat(e.writing()).isTrue());
      full.heal();
      Convert.from(source).offload(true).to(target);
      assertThat(Disks.read(target)).isEqualTo(bytes);
    }
  }

  @Test
  void whatLooksAtTheDataIsRefusedBeforeAnythingIsMade() throws Exception {
    Path target = folder.resolve("target");
    try (Image source = Disks.memory(new byte[SIZE])) {
      Convert convert = Convert.from(source).offload(true);
      for (Convert each : List.of(convert.compressed(true), convert.salvage(new Salvage()))) {
        assertThatThrownBy(() -> each.to(target, CreateOptions.of("qcow2", 0)))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageStartingWith("Copy offloading and ");
      }
    }
    assertThat(target).doesNotExist();
  }
}
