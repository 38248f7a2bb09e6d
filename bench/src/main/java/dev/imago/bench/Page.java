package dev.imago.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.List;

/** The page of the documentation that shows the last whole run, between two comments. */
final class Page {
  static final String BEGIN = "<!-- bench/run --report writes from here -->\n";
  static final String END = "<!-- to here -->\n";

  private Page() {}

  /**
   * Puts a run in the place of the one before it, and its chart beside the page, under the page's
   * name.
   */
  static void write(Path page, String report, String svg) throws IOException {
    String name = page.getFileName().toString().replaceAll("\\.md$", ".svg");
    String picture =
        "\n![How many times as fast as QEMU's tools, for each row](%s)\n".formatted(name);
    Files.writeString(page, replaced(Files.readString(page), report + picture));
    Files.writeString(page.resolveSibling(name), svg);
  }

  /** The page with another text between the comments. */
  static String replaced(String page, String report) throws IOException {
    int begin = page.indexOf(BEGIN);
    int end = page.indexOf(END, begin + 1);
    if (begin < 0 || end < 0) {
      throw new IOException("the page lacks the comments between which the report belongs");
    }
    return page.substring(0, begin + BEGIN.length()) + "\n" + report + "\n" + page.substring(end);
  }

  /** When, where and how a run was made. */
  static String circumstances(Path folder, int rounds, int shortRounds, boolean quick)
      throws IOException {
    String kib = Files.readAllLines(Path.of("/proc/meminfo")).getFirst().replaceAll("\\D", "");
    Path out = folder.resolve("out");
    Child.run(List.of("qemu-img", "--version"), out, folder.resolve("err"));
    return """
    %s, %d processors, %.0f GiB, Linux %s, %s, JDK %s, %s; %d rounds, %d of short runs%s. \
    Ratios are the peer's time ÷ ours: above 1 we are faster. \
    Times are medians (minimum–maximum); CPU is user + system.
    """
        .formatted(
            LocalDate.now(ZoneOffset.UTC),
            Runtime.getRuntime().availableProcessors(),
            Long.parseLong(kib) / (double) (1 << 20),
            System.getProperty("os.version"),
            Files.getFileStore(folder).type(),
            Runtime.version().toString().replaceAll("\\+.*", ""),
            Files.readAllLines(out).getFirst().replaceAll("version | \\(.*", ""),
            rounds,
            shortRounds,
            quick ? "; small inputs, whose figures mean little" : "");
  }
}
