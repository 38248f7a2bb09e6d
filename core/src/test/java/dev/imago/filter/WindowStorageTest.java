package dev.imago.filter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.storage.MemoryStorage;
import dev.imago.storage.StorageIoException;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;

class WindowStorageTest {
  private final MemoryStorage below = new MemoryStorage("m");

  private WindowStorage window() throws IOException {
    below.write(ByteBuffer.wrap(new byte[] {1, 1, 1, 1, 1, 1, 1, 1}), 0);
    return new WindowStorage(below, 2, 4);
  }

  private byte[] all() throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(8);
    below.read(bytes, 0);
    return bytes.array();
  }

  /** It was an IndexOutOfBoundsException, an internal error to the command line. */
  @Test
  void behindItsEndThereIsNoSpaceLeft() throws Exception {
    WindowStorage window = window();

    assertThatThrownBy(() -> window.write(ByteBuffer.allocate(2), 3))
        .isInstanceOf(StorageIoException.class)
        .hasMessageContaining("No space left on device");
    assertThat(all()).containsOnly(1);
  }

  /** The last cluster of a file may end behind it: giving it up ended the image. */
  @Test
  void aDiscardThatPassesItsEndIsCut() throws Exception {
    try (WindowStorage window = window()) {
      window.discard(0, 64);
      window.discard(64, 64);

      assertThat(all()[0]).isEqualTo((byte) 1);
      assertThat(all()[6]).isEqualTo((byte) 1);
    }
  }
}
