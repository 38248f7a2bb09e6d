package dev.imago.bench;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.cli.Main;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The comparison with {@code qemu-nbd} still does what it says; its figures mean nothing here. */
class NbdRowsTest {
  private static final List<String> CASES =
      List.of(
          "nbd: random read of 4 KiB, 16",
          "cold",
          "allocating",
          "with FUA, 8 jobs",
          "fsync=1, 8 jobs",
          "32 MiB to it");

  @TempDir Path folder;

  @Test
  void eachKindOfClientHasARow() throws Exception {
    String classPath =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    List<String> imago =
        List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "--enable-native-access=ALL-UNNAMED",
            "-cp",
            classPath,
            Main.class.getName());
    var settings = new NbdRows.Settings(folder, imago, 1, 0.05);

    var out = new StringBuilder();
    List<Chart.Bar> bars =
        new NbdRows(settings, new Inputs(folder, true))
            .report(name -> CASES.stream().anyMatch(name::contains), out::append);

    String report = out.toString();
    assertThat(bars).hasSize(CASES.size());
    List<String> rows = report.lines().filter(line -> line.startsWith("| ")).toList();
    assertThat(rows).as(report).hasSize(1 + CASES.size());
    assertThat(rows).allMatch(row -> row.matches("(\\| [^|]*){9}\\|"));
    try (Stream<Path> left = Files.list(folder)) {
      assertThat(left.map(path -> path.getFileName().toString()))
          .noneMatch(name -> name.startsWith("nbd-") || name.endsWith(".sock"));
    }
  }
}
