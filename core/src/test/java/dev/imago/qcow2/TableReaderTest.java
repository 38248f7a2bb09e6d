package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

class TableReaderTest {
  @Test
  void wordsThatAreNotZeroAreShownWithTheirIndex() throws Exception {
    Random random = new Random(9);
    for (int round = 0; round < 20; round++) {
      MemoryStorage storage = new MemoryStorage("table");
      TreeMap<Long, Long> expected = new TreeMap<>();
      long start = random.nextInt(100) * 512;
      for (int i = 0; i < 50; i++) {
        long index = random.nextInt(200_000);
        long word = random.nextLong() | 1;
        expected.put(index, word);
        storage.write(ByteBuffer.allocate(8).putLong(word).flip(), start + index * 8);
      }
      storage.write(ByteBuffer.wrap(new byte[] {1}), start + 200_000 * 8);
      TreeMap<Long, Long> found = new TreeMap<>();
      try (TableReader reader = new TableReader(storage, storage.size())) {
        reader.words(start, 200_000, found::put);
      }
      assertThat(found).isEqualTo(expected);
    }
  }

  @Test
  void whatTheFileDoesNotReachReadsAsZero() throws Exception {
    MemoryStorage storage = new MemoryStorage("short");
    storage.write(ByteBuffer.wrap(new byte[] {0, 0, 0, 0, 0, 0, 0, 1, 2}), 512);
    TreeMap<Long, Long> found = new TreeMap<>();
    try (TableReader reader = new TableReader(storage, storage.size())) {
      reader.words(512, 100, found::put);
      reader.words(1 << 20, 100, found::put);
      assertThat(reader.isHole(1 << 20, 512)).isTrue();
      assertThat(reader.isHole(512, 512)).isFalse();
      assertThat(reader.read(512, 2 << 20).getLong(8)).isEqualTo(2L << 56);
    }
    assertThat(found).containsExactly(Map.entry(0L, 1L), Map.entry(1L, 2L << 56));
  }

  @Test
  void holesAreNotRead() throws Exception {
    SparseStorage storage = new SparseStorage();
    storage.write(ByteBuffer.allocate(8).putLong(7).flip(), 1L << 50);
    storage.resize(1L << 55, Storage.Preallocation.OFF);
    TreeMap<Long, Long> found = new TreeMap<>();
    try (TableReader reader = new TableReader(storage, storage.size())) {
      reader.words(0, 1L << 50, found::put);
    }
    assertThat(found).containsExactly(Map.entry(1L << 47, 7L));
  }
}
