package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;

/**
 * That all is handed on: {@link TaggedStorageTest}. Here: that no bytes pass by who changes them.
 */
class StorageOverTest {
  private final MemoryStorage below = new MemoryStorage("below");

  /** Keeps every byte inverted. */
  private final StorageOver over =
      new StorageOver(below) {
        @Override
        public void read(ByteBuffer dst, long hostOffset) throws IOException {
          int from = dst.position();
          super.read(dst, hostOffset);
          invert(dst, from);
        }

        @Override
        public void write(ByteBuffer src, long hostOffset) throws IOException {
          ByteBuffer inverted = ByteBuffer.allocate(src.remaining()).put(src);
          invert(inverted, 0);
          super.write(inverted.flip(), hostOffset);
        }
      };

  private static void invert(ByteBuffer bytes, int from) {
    for (int i = from; i < bytes.position(); i++) {
      bytes.put(i, (byte) ~bytes.get(i));
    }
  }

  @Test
  void severalBuffersGoThroughTheChangeOneByOne() throws Exception {
    over.write(new ByteBuffer[] {bytes(1, 2), bytes(3)}, 10);

    ByteBuffer raw = ByteBuffer.allocate(3);
    below.read(raw, 10);
    assertThat(raw.array()).containsExactly(~1, ~2, ~3);
    ByteBuffer first = ByteBuffer.allocate(1);
    ByteBuffer rest = ByteBuffer.allocate(2);
    over.read(new ByteBuffer[] {first, rest}, 10);
    assertThat(first.array()).containsExactly(1);
    assertThat(rest.array()).containsExactly(2, 3);
  }

  @Test
  void whatIsAtHandBelowIsNotReadPastTheChange() throws Exception {
    over.write(bytes(1), 0);

    assertThat(over.readNow(ByteBuffer.allocate(1), 0)).isFalse();
  }

  private static ByteBuffer bytes(int... values) {
    ByteBuffer bytes = ByteBuffer.allocate(values.length);
    for (int value : values) {
      bytes.put((byte) value);
    }
    return bytes.flip();
  }
}
