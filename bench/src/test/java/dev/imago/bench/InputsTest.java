package dev.imago.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Images that no tool makes are what they should be, and the in-process part runs on some. */
class InputsTest {
  @TempDir Path folder;

  @Test
  void anImageOfManyExtentsIsSoundAndHasThem() throws Exception {
    Path image = folder.resolve("many.qcow2");
    ManyExtents.write(image, 20_000);

    assertThat(run("qemu-img", "check", image)).contains("No errors were found");
    assertThat(run("qemu-img", "map", image).lines()).hasSize(1 + 20_000);
    assertThat(run("qemu-img", "map", "--output=json", image).lines()).hasSize(20_000);
  }

  @Test
  void inProcessMeasuresReadsAndWrites() throws Exception {
    Path raw = folder.resolve("raw");
    Path qcow2 = folder.resolve("qcow2");
    Files.write(raw, new byte[1 << 20]);
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2);

    String table = InProcess.table(raw, qcow2, folder, 1, 10);

    assertThat(table.lines().filter(line -> line.matches("\\| (random|allocating).*"))).hasSize(5);
    assertThat(table).doesNotContain("NaN");
    assertThat(folder.resolve("in-process")).doesNotExist();
  }

  private String run(Object... words) throws Exception {
    Path out = folder.resolve("out");
    List<String> command = List.of(words).stream().map(Object::toString).toList();
    assertThat(Child.run(command, out, folder.resolve("err")).exitCode()).isZero();
    return Files.readString(out);
  }
}
