package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Tool;
import java.nio.file.Path;
import java.util.Scanner;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;

/**
 * An image of 16 TiB in which every cluster is used, and none counted, is repaired by a process
 * that never has more than 1 GiB, all told.
 */
class RepairMemoryTest {
  private static final long LIMIT_KIB = 1 << 20;

  @Test
  @EnabledIfSystemProperty(named = "imago.long", matches = "true")
  void countsOfSixteenTebibytesAreMadeAnew() throws Exception {
    Tool.Outcome outcome =
        Tool.run(
            Path.of(System.getProperty("java.home"), "bin", "java"),
            "-Xmx512m",
            "-cp",
            "target/classes:target/test-classes",
            RepairMemory.class.getName());

    Scanner said = new Scanner(outcome.ok().out());
    assertThat(said.nextLine()).isEqualTo("[] " + RepairMemory.DATA);
    assertThat(said.next()).isEqualTo("VmHWM:");
    assertThat(said.nextLong()).isBetween(1L, LIMIT_KIB);
    assertThat(said.next()).isEqualTo("kB");
  }
}
