package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.Compare.Result;
import dev.imago.Compare.Verdict;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.SyncMode;
import dev.imago.raw.Raw;
import dev.imago.storage.MemoryStorage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CompareTest {
  private static final Result SAME = new Result(Verdict.IDENTICAL, -1, false);

  @TempDir Path folder;

  @Test
  void equalBytesInAnyFormAreIdentical() throws Exception {
    byte[] bytes = Disks.random(1, 3 << 20);
    Path raw = Disks.raw(folder.resolve("a.raw"), bytes);
    Path qcow2 = folder.resolve("a.qcow2");
    try (Image source = Disks.memory(bytes)) {
      Convert.from(source).sync(SyncMode.NONE).to(qcow2, CreateOptions.of("qcow2", 0));
    }
    try (Image a = Disks.created(folder.resolve("b.raw"), CreateOptions.of("raw", 3 << 20));
        Image b = Images.openReadOnly(qcow2, dev.imago.image.References.deny());
        Image c = Images.openReadOnly(raw, dev.imago.image.References.deny())) {
      a.write(ByteBuffer.wrap(bytes), 0);
      assertThat(compare(a, b, false)).isEqualTo(SAME);
      assertThat(compare(b, c, false)).isEqualTo(SAME);
      assertThat(compare(c, a, false)).isEqualTo(SAME);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 511, 512, 4095, 1_000_000, 2_097_151, 2_097_152, 3_145_727})
  void oneByteAnywhereIsFoundAndItsSectorNamed(int at) throws Exception {
    byte[] bytes = Disks.random(at, 3 << 20);
    byte[] other = bytes.clone();
    other[at] ^= 0x10;

    assertThat(compare(bytes, other, false))
        .isEqualTo(new Result(Verdict.CONTENT_MISMATCH, at / 512 * 512, false));
  }

  @Test
  void ofManyDifferencesTheFirstIsNamedHoweverManyThreadsLook() throws Exception {
    var random = new SplittableRandom(5);
    for (int round = 0; round < 50; round++) {
      byte[] bytes = Disks.random(round, 4 << 20);
      byte[] other = bytes.clone();
      int first = Integer.MAX_VALUE;
      for (int i = 0; i < 4; i++) {
        int at = random.nextInt(bytes.length);
        other[at] = (byte) ~bytes[at];
        first = Math.min(first, at);
      }
      assertThat(compare(bytes, other, false).offset()).isEqualTo(first / 512 * 512);
    }
  }

  @Test
  void aLongerImageIsTheSameIfTheRestIsZero() throws Exception {
    byte[] bytes = Disks.random(2, 1 << 20);
    byte[] longer = Arrays.copyOf(bytes, 3 << 20);

    assertThat(compare(bytes, longer, false)).isEqualTo(new Result(Verdict.IDENTICAL, -1, true));
    assertThat(compare(longer, bytes, false)).isEqualTo(new Result(Verdict.IDENTICAL, -1, true));
    longer[(2 << 20) + 700] = 1;
    assertThat(compare(bytes, longer, false))
        .isEqualTo(new Result(Verdict.CONTENT_MISMATCH, (2 << 20) + 512, true));
    assertThat(compare(longer, bytes, false))
        .isEqualTo(new Result(Verdict.CONTENT_MISMATCH, (2 << 20) + 512, true));
  }

  @Test
  void strictlyTheSizesMustBeEqual() throws Exception {
    assertThat(compare(new byte[512], new byte[1024], true))
        .isEqualTo(new Result(Verdict.SIZE_MISMATCH, -1, true));
  }

  @Test
  void strictlyAHoleIsNotTheSameAsZeroes() throws Exception {
    try (Image a = Disks.memory(new byte[1 << 20]);
        Image b = Disks.memory(new byte[1 << 20])) {
      a.write(ByteBuffer.wrap(new byte[] {1}), 0);
      b.write(ByteBuffer.wrap(new byte[] {1}), 0);
      b.discard(512 << 10, 512 << 10, Image.Discard.TO_ZERO);
      assertThat(compare(a, b, false)).isEqualTo(SAME);
      assertThat(compare(a, b, true))
          .isEqualTo(new Result(Verdict.STATUS_MISMATCH, 512 << 10, false));
      assertThat(compare(a, a, true)).isEqualTo(SAME);
    }
  }

  @Test
  void whatIsAHoleInBothIsNotRead() throws Exception {
    var storage = new FaultyStorage(new MemoryStorage("hole"));
    storage.resize(64 << 20, dev.imago.storage.Storage.Preallocation.OFF);
    try (Image a = Raw.open(storage, false, SyncMode.FULL);
        Image b = Disks.memory(new byte[0])) {
      assertThat(compare(a, b, false)).isEqualTo(new Result(Verdict.IDENTICAL, -1, true));
    }
    assertThat(storage.calls(StorageCall.READ)).isZero();
  }

  @Test
  void anUnreadableImageIsNamed() throws Exception {
    var storage = new FaultyStorage(new MemoryStorage("bad"));
    storage.write(ByteBuffer.wrap(new byte[1 << 20]), 0);
    storage.failWhen(r -> r.call() == StorageCall.READ);
    try (Image a = Raw.open(storage, false, SyncMode.FULL);
        Image b = Disks.memory(Disks.random(1, 1 << 20))) {
      assertThatThrownBy(() -> compare(b, a, false))
          .isInstanceOfSatisfying(
              CompareException.class,
              e -> {
                assertThat(e.image()).isEqualTo("bad");
                assertThat(e.mapping()).isFalse();
              })
          .hasMessageStartingWith("error while reading offset 0 of bad: ");
    }
  }

  /** "(100.00/100%)Content mismatch" was printed now and then. */
  @Test
  void progressIsNotToldOfBytesBehindADifference() throws Exception {
    byte[] bytes = Disks.random(7, 3 << 20);
    byte[] other = bytes.clone();
    other[69_632] ^= 1;
    for (int threads = 1; threads <= 4; threads++) {
      List<Long> told = Collections.synchronizedList(new ArrayList<>());
      try (Image a = Disks.memory(bytes);
          Image b = Disks.memory(other)) {
        Compare.compare(a, b, false, threads, (done, total) -> told.add(done));
      }
      assertThat(told).isEmpty();
    }
  }

  @Test
  void progressEndsComplete() throws Exception {
    List<Long> told = new ArrayList<>();
    Progress progress =
        (done, total) -> {
          assertThat(total).isEqualTo(3 << 20);
          told.add(done);
        };
    try (Image a = Disks.memory(Disks.random(1, 3 << 20));
        Image b = Disks.memory(Disks.random(1, 3 << 20))) {
      Compare.compare(a, b, false, progress);
    }
    assertThat(told).isSorted().endsWith(3L << 20);
  }

  private static Result compare(byte[] a, byte[] b, boolean strict) throws IOException {
    try (Image ia = Disks.memory(a);
        Image ib = Disks.memory(b)) {
      return compare(ia, ib, strict);
    }
  }

  private static Result compare(Image a, Image b, boolean strict) throws IOException {
    Result alone = Compare.compare(a, b, strict, 1, Progress.NONE);
    assertThat(Compare.compare(a, b, strict, 3, Progress.NONE)).isEqualTo(alone);
    return alone;
  }
}
