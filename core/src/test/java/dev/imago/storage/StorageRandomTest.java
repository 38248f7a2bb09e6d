package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.Storage.Run;
import dev.imago.storage.Storage.ZeroMode;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Random requests of any alignment, against an array of bytes that does the same. */
class StorageRandomTest {
  private static final int LARGEST = 600_000;
  private static final int ROUNDS = 1000;
  private static final int SEEDS = Boolean.getBoolean("imago.long") ? 60 : 3;

  @TempDir(factory = InTarget.class)
  private Path folder;

  @ParameterizedTest
  @EnumSource
  void everyKindDoesWhatAnArrayDoes(StorageKind kind) throws Exception {
    Path file = folder.resolve("disk");
    for (long seed = 1; seed <= SEEDS; seed++) {
      Model model = new Model(seed);
      try (Storage storage = kind.create(file)) {
        kind.onItsThread(
            () -> {
              for (int round = 0; round < ROUNDS; round++) {
                model.step(storage);
              }
              model.compareAll(storage);
              storage.flush();
            });
      }
      if (kind.isFile()) {
        assertThat(Files.readAllBytes(file)).isEqualTo(model.expected());
      }
    }
  }

  /** The array, and the requests on both. */
  private static final class Model {
    private final long seed;
    private final Random random;
    private final byte[] bytes = new byte[LARGEST];
    private int size;

    Model(long seed) {
      this.seed = seed;
      this.random = new Random(seed);
    }

    byte[] expected() {
      return Arrays.copyOf(bytes, size);
    }

    void step(Storage storage) throws Exception {
      int at = offset();
      int length = length(at);
      switch (random.nextInt(12)) {
        case 0, 1, 2 -> write(storage, at, length);
        case 3 -> writeSeveral(storage, at, length);
        case 4, 5 -> read(storage, at, length);
        case 6 -> readSeveral(storage, at, length);
        case 7 -> zero(storage, at, length);
        case 8 -> discard(storage, at, length);
        case 9 -> resize(storage);
        case 10 -> run(storage);
        default -> readNow(storage, at, length);
      }
      assertThat(storage.size()).as("size, seed %d", seed).isEqualTo(size);
    }

    /** Often at or near a block's border, as bugs are. */
    private int offset() {
      int at = random.nextInt(LARGEST);
      return switch (random.nextInt(4)) {
        case 0 -> at & -4096;
        case 1 -> Math.max(0, Math.min(LARGEST, (at & -4096) + random.nextInt(3) - 1));
        case 2 -> Math.max(0, size - random.nextInt(5000));
        default -> at;
      };
    }

    private int length(int at) {
      int length =
          switch (random.nextInt(4)) {
            case 0 -> random.nextInt(20);
            case 1 -> random.nextInt(10_000);
            case 2 -> random.nextInt(10) * 4096;
            // Now and then longer than what is brought to the host in one piece.
            default -> random.nextInt(random.nextInt(8) == 0 ? LARGEST : 200_000);
          };
      return Math.min(length, LARGEST - at);
    }

    private ByteBuffer buffer(int length) {
      int before = random.nextInt(3) == 0 ? 0 : random.nextInt(100);
      int after = random.nextInt(10);
      ByteBuffer buffer =
          random.nextBoolean()
              ? ByteBuffer.allocate(before + length + after)
              : ByteBuffer.allocateDirect(before + length + after);
      buffer = buffer.position(before).limit(before + length);
      return random.nextBoolean() ? buffer.slice() : buffer;
    }

    private ByteBuffer[] buffers(int length) {
      ByteBuffer[] parts = new ByteBuffer[1 + random.nextInt(5)];
      boolean direct = random.nextBoolean();
      int left = length;
      for (int i = 0; i < parts.length; i++) {
        int part = i == parts.length - 1 ? left : random.nextInt(left + 1);
        parts[i] = direct ? ByteBuffer.allocateDirect(part) : buffer(part);
        left -= part;
      }
      return parts;
    }

    private void write(Storage storage, int at, int length) throws Exception {
      ByteBuffer src = buffer(length);
      fill(src, at);
      ByteBuffer given = random.nextBoolean() ? src.asReadOnlyBuffer() : src;
      storage.write(given, at);
      assertThat(given.hasRemaining()).isFalse();
      grow(at, length);
    }

    private void writeSeveral(Storage storage, int at, int length) throws Exception {
      ByteBuffer[] srcs = buffers(length);
      int next = at;
      for (ByteBuffer src : srcs) {
        fill(src, next);
        next += src.remaining();
      }
      storage.write(srcs, at);
      assertThat(Ranges.remaining(srcs)).isZero();
      grow(at, length);
    }

    private void fill(ByteBuffer src, int at) {
      byte[] data = new byte[src.remaining()];
      random.nextBytes(data);
      src.put(src.position(), data);
      System.arraycopy(data, 0, bytes, at, data.length);
    }

    private void grow(int at, int length) {
      if (length > 0) {
        size = Math.max(size, at + length);
      }
    }

    private void read(Storage storage, int at, int length) throws Exception {
      ByteBuffer dst = buffer(length);
      int start = dst.position();
      storage.read(dst, at);
      compare(dst, start, at, length);
    }

    private void readNow(Storage storage, int at, int length) throws Exception {
      ByteBuffer dst = buffer(length);
      int start = dst.position();
      if (storage.readNow(dst, at)) {
        compare(dst, start, at, length);
      } else {
        assertThat(dst.position()).isEqualTo(start);
      }
    }

    private void readSeveral(Storage storage, int at, int length) throws Exception {
      ByteBuffer[] dsts = buffers(length);
      int[] starts = Arrays.stream(dsts).mapToInt(ByteBuffer::position).toArray();
      storage.read(dsts, at);
      int next = at;
      for (int i = 0; i < dsts.length; i++) {
        int part = dsts[i].limit() - starts[i];
        compare(dsts[i], starts[i], next, part);
        next += part;
      }
    }

    private void compare(ByteBuffer dst, int start, int at, int length) {
      assertThat(dst.hasRemaining()).isFalse();
      byte[] got = new byte[length];
      dst.get(start, got);
      assertThat(Arrays.mismatch(got, Arrays.copyOfRange(bytes, at, at + length)))
          .as("first difference; seed %d, %d bytes at %d, size %d", seed, length, at, size)
          .isEqualTo(-1);
    }

    void compareAll(Storage storage) throws Exception {
      read(storage, 0, LARGEST);
    }

    private void zero(Storage storage, int at, int length) throws Exception {
      storage.writeZeroes(at, length, random.nextBoolean() ? ZeroMode.SPARSE : ZeroMode.ALLOCATED);
      Arrays.fill(bytes, at, at + length, (byte) 0);
      grow(at, length);
    }

    private void discard(Storage storage, int at, int length) throws Exception {
      if (storage.discard(at, length)) {
        Arrays.fill(bytes, at, at + length, (byte) 0);
      }
    }

    private void resize(Storage storage) throws Exception {
      int newSize = random.nextInt(3) == 0 ? offset() : Math.min(LARGEST, size + 9000);
      Preallocation[] modes = Preallocation.values();
      storage.resize(newSize, modes[random.nextInt(modes.length)]);
      if (newSize < size) {
        Arrays.fill(bytes, newSize, size, (byte) 0);
      }
      size = newSize;
    }

    private void run(Storage storage) throws Exception {
      for (long at = 0; at < size; ) {
        Run run = storage.run(at, size - at);
        assertThat(run.length()).isBetween(1L, size - at);
        if (!run.data()) {
          byte[] hole = Arrays.copyOfRange(bytes, (int) at, (int) (at + run.length()));
          assertThat(Arrays.equals(hole, new byte[hole.length])).isTrue();
        }
        at += run.length();
      }
    }
  }
}
