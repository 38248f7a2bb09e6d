package dev.imago.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Memory that is filled before a run. */
class FullMemoryTest {
  @TempDir private Path folder;

  @Test
  void onlyWhatIsFreeCounts() throws Exception {
    assertThat(
            FullMemory.free(
                List.of(
                    "MemTotal:       24683520 kB", "MemFree:        13029376 kB", "Cached: 1 kB")))
        .isEqualTo(13_029_376L << 10);
    assertThatThrownBy(() -> FullMemory.free(List.of("MemTotal: 1 kB")))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("MemFree");
  }

  @Test
  void aFileThatTakesNoRoomIsReadOnAndOn() throws Exception {
    Path file = folder.resolve("hole");
    var memory = new FullMemory(file);

    assertThat(memory.read(3 << 20)).isEqualTo(3 << 20);
    assertThat(memory.read(5 << 20)).isEqualTo(8 << 20);
    assertThat((Long) Files.getAttribute(file, "size")).isGreaterThan(1L << 40);
    long blocks =
        new ProcessBuilder("stat", "-c", "%b", file.toString())
            .start()
            .inputReader()
            .lines()
            .mapToLong(Long::parseLong)
            .sum();
    assertThat(blocks * 512).isLessThanOrEqualTo(65536);
  }
}
