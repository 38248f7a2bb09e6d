package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** Compares what two programs have made of the same folder. */
final class Images {
  private static final Pattern LINE =
      Pattern.compile("\"length\": (\\d+), \"depth\": (\\d+),.*\"data\": (\\w+)");

  private static final long LONG = 64 << 20;

  private Images() {}

  /** The files below a folder. */
  static List<String> names(Path folder) throws IOException {
    try (Stream<Path> all = Files.walk(folder)) {
      return all.filter(Files::isRegularFile)
          .map(path -> folder.relativize(path).toString())
          .sorted()
          .toList();
    }
  }

  /** The file of that name is as good in {@link Lab#WORK} as in {@link Lab#QEMU}. */
  static void assertSame(Path name) throws Exception {
    Path qemu = Lab.QEMU.resolve(name);
    Path ours = Lab.WORK.resolve(name);
    if ((untouched(qemu, name) && untouched(ours, name)) || sameBytes(qemu, ours)) {
      return;
    }
    Path before = Lab.FIXTURES.resolve(name);
    boolean touched = !Files.exists(before) || Files.mismatch(before, ours) >= 0;
    assertThat(touched).as("%s was changed by qemu-img alone", name).isTrue();
    assertThat(isQcow2(ours)).as("%s is another raw image", name).isTrue();
    assertThat(facts(ours)).isEqualTo(facts(qemu));
    assertThat(map(ours)).isEqualTo(map(qemu));
    assertSameGuest(qemu, ours);
  }

  /** As {@link #assertSame}, but wherever the bytes are kept. */
  static void assertSameBytes(Path name) throws Exception {
    Path qemu = Lab.QEMU.resolve(name);
    Path ours = Lab.WORK.resolve(name);
    if ((untouched(qemu, name) && untouched(ours, name)) || sameBytes(qemu, ours)) {
      return;
    }
    assertThat(isQcow2(ours)).as("%s is another raw image", name).isTrue();
    assertThat(facts(ours)).isEqualTo(facts(qemu));
    assertSameGuest(qemu, ours);
  }

  private static void assertSameGuest(Path qemu, Path ours) throws Exception {
    String facts = facts(ours);
    if (facts.contains("\"encrypted\": true")) {
      assertSameEncrypted(qemu, ours);
      return;
    }
    Qemu.check(ours).clean();
    if (!facts.contains("nosuch")) {
      Tool.run("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", ours, qemu).ok();
    }
  }

  /** All encrypted fixtures have the same passphrase. */
  private static void assertSameEncrypted(Path qemu, Path ours) throws Exception {
    Qemu.check(ours, "geheim").clean();
    Tool.run(
            "qemu-img",
            "compare",
            "--object",
            "secret,id=key,data=geheim",
            "--image-opts",
            Qemu.encrypted(ours),
            Qemu.encrypted(qemu))
        .ok();
  }

  /** Whether a copy of a fixture was never written to; copies keep its time. */
  private static boolean untouched(Path copy, Path name) throws IOException {
    Path fixture = Lab.FIXTURES.resolve(name);
    return Files.exists(fixture)
        && Files.size(copy) == Files.size(fixture)
        && Files.getLastModifiedTime(copy).equals(Files.getLastModifiedTime(fixture));
  }

  /** Long files are mostly holes, which only a tool that looks for them passes over. */
  private static boolean sameBytes(Path qemu, Path ours) throws Exception {
    if (Files.size(qemu) != Files.size(ours)) {
      return false;
    }
    return Files.size(ours) <= LONG
        ? Files.mismatch(qemu, ours) < 0
        : Tool.run("qemu-img", "compare", "-f", "raw", "-F", "raw", ours, qemu).status() == 0;
  }

  private static boolean isQcow2(Path file) {
    try (var in = Files.newInputStream(file)) {
      byte[] magic = in.readNBytes(4);
      return magic.length == 4 && magic[0] == 'Q' && magic[1] == 'F' && magic[2] == 'I';
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** What info tells, but for names, host space and when snapshots were made. */
  private static String facts(Path image) throws Exception {
    return Tool.run("qemu-img", "info", "-f", "qcow2", "--output=json", image)
        .ok()
        .out()
        .replace(image.getParent().toString(), "")
        .replaceAll("\"actual-size\": \\d+", "")
        .replaceAll("\"date-n?sec\": \\d+", "");
  }

  /**
   * Which guest ranges are data or zero, and in which layer. Whether zeroes are said or follow, and
   * whether clusters have holes inside them, is each program's own business.
   */
  private static List<String> map(Path image) throws Exception {
    Tool.Outcome outcome = Tool.run("qemu-img", "map", "-f", "qcow2", "--output=json", image);
    List<String> runs = new ArrayList<>();
    Matcher line = LINE.matcher(outcome.out());
    String kind = "";
    long end = 0;
    while (line.find()) {
      String next = line.group(3).equals("true") ? "data in layer " + line.group(2) : "zero";
      if (!next.equals(kind)) {
        runs.add(kind + " to " + end);
        kind = next;
      }
      end += Long.parseLong(line.group(1));
    }
    runs.add(kind + " to " + end);
    return runs;
  }
}
