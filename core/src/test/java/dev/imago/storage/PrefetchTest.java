package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PrefetchTest {
  @TempDir(factory = InTarget.class)
  private Path folder;

  @Test
  void itIsForFilesThatGoThroughThePageCache() throws Exception {
    Path file = Files.write(folder.resolve("file"), new byte[10_000]);
    try (Storage cached = FileStorage.open(file, FileStorage.Options.readOnly())) {
      assertThat(cached.prefetch(4096, 512)).isTrue();
      assertThat(cached.prefetch(1 << 20, 512)).as("behind the end").isTrue();
      ByteBuffer bytes = ByteBuffer.allocateDirect(512).put(0, (byte) 1);
      cached.read(bytes, 4096);
      assertThat(bytes.flip().get(0)).isZero();
    }
    try (Storage direct = FileStorage.open(file, FileStorage.Options.readOnly().withDirect(true))) {
      assertThat(direct.prefetch(4096, 512)).isFalse();
    }
    try (Storage memory = new MemoryStorage("memory")) {
      assertThat(memory.prefetch(0, 512)).isFalse();
    }
  }
}
