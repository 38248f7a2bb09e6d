package dev.imago.crypto;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.EncryptionKeyException;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class EncryptedStorageTest {
  private static final int SIZE = 3 << 20;

  private final MemoryStorage below = new MemoryStorage("m");
  private final SectorCipher cipher =
      new SectorCipher(
          new CipherSpec(64, CipherSpec.Mode.XTS, CipherSpec.Iv.PLAIN64, null), new byte[64]);
  private final EncryptedStorage storage = new EncryptedStorage(below, cipher);

  @Test
  void requestsOfAnyAlignmentReadWhatWasWritten() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    byte[] oracle = new byte[SIZE];
    storage.writeZeroes(0, SIZE, Storage.ZeroMode.SPARSE);
    for (int i = 0; i < 400; i++) {
      int grain = random.nextInt(3) == 0 ? 512 : 1;
      int at = random.nextInt(SIZE) / grain * grain;
      int most = random.nextInt(20) == 0 ? SIZE : 3000;
      int length = Math.min(SIZE - at, random.nextInt(most)) / grain * grain;
      byte[] bytes = new byte[length];
      switch (random.nextInt(4)) {
        case 0 -> {
          random.nextBytes(bytes);
          int cut = length == 0 ? 0 : random.nextInt(length);
          ByteBuffer[] parts = {
            ByteBuffer.wrap(bytes, 0, cut),
            ByteBuffer.allocateDirect(length - cut).put(0, bytes, cut, length - cut)
          };
          storage.write(parts, at);
          assertThat(parts[0].remaining() + parts[1].remaining()).isZero();
          System.arraycopy(bytes, 0, oracle, at, length);
        }
        case 1 -> {
          storage.writeZeroes(at, length, Storage.ZeroMode.ALLOCATED);
          Arrays.fill(oracle, at, at + length, (byte) 0);
        }
        default -> {
          ByteBuffer read = ByteBuffer.allocateDirect(length + 7).position(3).limit(3 + length);
          storage.read(read, at);
          assertThat(read.position()).isEqualTo(3 + length);
          read.get(3, bytes);
          assertThat(bytes)
              .as("seed %d, step %d", seed, i)
              .isEqualTo(Arrays.copyOfRange(oracle, at, at + length));
        }
      }
    }
    ByteBuffer raw = ByteBuffer.allocate(512);
    below.read(raw, 0);
    assertThat(raw.array()).isNotEqualTo(Arrays.copyOf(oracle, 512));
    cipher.decrypt(raw.flip(), 0);
    assertThat(raw.array()).isEqualTo(Arrays.copyOf(oracle, 512));
  }

  @Test
  void writersOfOneSectorLoseNothingOfEachOther() throws Exception {
    storage.writeZeroes(0, 4096, Storage.ZeroMode.SPARSE);
    List<Thread> threads = new ArrayList<>();
    for (int t = 0; t < 8; t++) {
      byte value = (byte) (t + 1);
      int start = t;
      threads.add(
          Thread.ofPlatform()
              .start(
                  () -> {
                    try {
                      for (int at = start; at < 4096; at += 8) {
                        storage.write(ByteBuffer.wrap(new byte[] {value}), at);
                      }
                    } catch (java.io.IOException e) {
                      throw new java.io.UncheckedIOException(e);
                    }
                  }));
    }
    for (Thread thread : threads) {
      thread.join();
    }
    ByteBuffer all = ByteBuffer.allocate(4096);
    storage.read(all, 0);
    for (int i = 0; i < 4096; i++) {
      assertThat(all.get(i)).isEqualTo((byte) (i % 8 + 1));
    }
  }

  @Test
  void nobodyIsToldThatAPlaceReadsAsZero() throws Exception {
    below.resize(8192, Storage.Preallocation.OFF);
    assertThat(storage.holesReadAsZero()).isFalse();
    assertThat(storage.zeroesCheaply()).isFalse();
    assertThat(storage.run(0, 8192)).isEqualTo(new Storage.Run(true, 8192));
    assertThat(storage.discard(0, 8192)).isFalse();
    assertThatIllegalArgumentException().isThrownBy(() -> storage.run(0, 0));
    assertThatIllegalArgumentException().isThrownBy(() -> storage.read(ByteBuffer.allocate(1), -1));
  }

  @Test
  void closingWipesTheKey() throws Exception {
    storage.writeZeroes(0, 512, Storage.ZeroMode.SPARSE);
    storage.close();
    assertThat(cipher.wiped()).isTrue();
  }

  @Test
  void withoutItsKeyNothingIsReadOrWritten() throws Exception {
    try (LockedStorage locked = new LockedStorage(below)) {
      assertThatThrownBy(() -> locked.read(ByteBuffer.allocate(1), 0))
          .isInstanceOf(EncryptionKeyException.class)
          .hasMessage(
              "m: encrypt.key-secret: Parameter 'encrypt.key-secret' is required for cipher");
      assertThatThrownBy(() -> locked.write(ByteBuffer.allocate(1), 0))
          .isInstanceOf(EncryptionKeyException.class);
      assertThatThrownBy(() -> locked.writeZeroes(0, 1, Storage.ZeroMode.SPARSE))
          .isInstanceOf(EncryptionKeyException.class);
    }
  }
}
