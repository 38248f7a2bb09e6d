package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.interop.nbd.Server;
import dev.imago.testing.Qemu;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * Command lines on exports of {@code qemu-nbd}, one after the other: qemu-img and ours must say the
 * same to each, beginning with the same images.
 */
class NbdContractTest {
  private static final Path WRITABLE = Lab.WORK.resolve("w.sock");
  private static final Path READ_ONLY = Lab.WORK.resolve("r.sock");

  private interface Program {
    Answer ask(String... args) throws Exception;
  }

  private record Told(String line, Answer answer) {}

  @BeforeAll
  static void build() throws Exception {
    Lab.build();
  }

  @Test
  void oursSaysOfExportsWhatQemuImgSays() throws Exception {
    List<Told> qemu = session(Answer::ofQemu);
    List<Told> ours = session(Answer::ofOurs);

    for (int i = 0; i < qemu.size(); i++) {
      assertThat(ours.get(i).answer()).as(qemu.get(i).line()).isEqualTo(qemu.get(i).answer());
    }
  }

  /** All lines, on fresh images. */
  private static List<Told> session(Program program) throws Exception {
    Lab.fill();
    Path image = Lab.WORK.resolve("export.raw");
    Qemu.img("create", "-q", "-f", "raw", image, "4M");
    Path base = Lab.WORK.resolve("base.q");
    try (Server _ = Server.qemuNbd(WRITABLE, image, "raw", "-x", "rw");
        Server _ = Server.qemuNbd(READ_ONLY, base, "raw", "-x", "ro", "-r")) {
      List<Told> told = new ArrayList<>();
      for (String line : CommandLines.of("nbd").toList()) {
        String meant =
            line.replace("%W", "nbd+unix:///rw?socket=" + WRITABLE)
                .replace("%R", "nbd+unix:///ro?socket=" + READ_ONLY)
                .replace("%S", READ_ONLY.toString());
        Answer answer = program.ask(CommandLines.words(meant, Lab.WORK));
        told.add(new Told(line, comparable(answer)));
      }
      return told;
    }
  }

  /** Without where each program puts clusters, and when, and line ends that nothing follows. */
  private static Answer comparable(Answer answer) {
    return new Answer(
        answer.exit(),
        answer
            .out()
            .replaceAll("Image end offset: [0-9]+", "Image end offset")
            .replaceAll("\"image-end-offset\": [0-9]+", "\"image-end-offset\"")
            .replaceAll("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}", "date"),
        answer.err().strip());
  }
}
