package dev.imago.interop;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Images;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the first page promises: every command and program on it is run here, as it stands. */
class ReadmeTest {
  private static final Path ROOT = Path.of(System.getProperty("imago.root")).toAbsolutePath();

  /** A folder like a fresh clone's, but nothing made in it lands in the clone. */
  @TempDir Path folder;

  private String readme;

  @BeforeEach
  void standInForTheClone() throws IOException {
    readme = Files.readString(ROOT.resolve("README.md"));
    Path imago = folder.resolve("imago");
    Files.writeString(imago, "#!/bin/sh\nexec '" + ROOT.resolve("imago") + "' \"$@\"\n");
    assertThat(imago.toFile().setExecutable(true)).isTrue();
    Files.createDirectory(folder.resolve("examples"));
    Files.copy(ROOT.resolve("examples/notes.raw"), folder.resolve("examples/notes.raw"));
  }

  @Test
  void everyImagoCommandWorksAndItsImageIsWhatQemuSees() throws Exception {
    List<String> commands =
        blocks("sh").stream()
            .flatMap(String::lines)
            .filter(line -> line.startsWith("./imago "))
            .toList();
    assertThat(commands).first().asString().startsWith("./imago convert -p -O qcow2 examples/");

    for (String command : commands) {
      run("sh", "-c", command);
    }

    run("qemu-img", "check", "out.qcow2");
    run("qemu-img", "compare", "-F", "qcow2", "-f", "raw", "examples/notes.raw", "out.qcow2");
  }

  @Test
  void javaProgramRunsAsOneFile() throws Exception {
    List<String> programs = blocks("java");
    assertThat(programs).hasSize(1);
    Files.writeString(folder.resolve("Notes.java"), programs.getFirst());
    String modules =
        Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
            .filter(entry -> entry.equals(location(Images.class)) || entry.contains("zstd-jni"))
            .collect(Collectors.joining(File.pathSeparator));

    run(
        System.getProperty("java.home") + "/bin/java",
        "--enable-native-access=dev.imago,com.github.luben.zstd_jni",
        "--module-path",
        modules,
        "--add-modules",
        "dev.imago",
        "Notes.java");

    run("qemu-img", "check", "notes.qcow2");
    assertThat(run("qemu-io", "-r", "-f", "qcow2", "-c", "read -v 0 16", "notes.qcow2"))
        .contains("48 65 6c 6c 6f 2c 20 64 69 73 6b "); // Hello, disk
  }

  @Test
  void ciRunsTheTestCommandOfThisPage() throws IOException {
    assertThat(blocks("sh")).anySatisfy(block -> assertThat(block.strip()).isEqualTo(ciCommand()));
  }

  private static String ciCommand() throws IOException {
    String last = Files.readAllLines(ROOT.resolve(".ci/run")).getLast();
    assertThat(last).startsWith("exec ");
    return last.substring("exec ".length());
  }

  private List<String> blocks(String language) {
    Matcher matcher = Pattern.compile("(?ms)^```" + language + "\\n(.*?)^```$").matcher(readme);
    List<String> blocks = new ArrayList<>();
    while (matcher.find()) {
      blocks.add(matcher.group(1));
    }
    return blocks;
  }

  private String run(String... command) throws IOException, InterruptedException {
    Path output = folder.resolve("output.txt");
    Process process =
        new ProcessBuilder(command)
            .directory(folder.toFile())
            .redirectErrorStream(true)
            .redirectOutput(output.toFile())
            .start();
    int exit = process.waitFor();
    String said = Files.readString(output);
    assertThat(exit).as("%s%n%s", String.join(" ", command), said).isZero();
    return said;
  }

  private static String location(Class<?> type) {
    try {
      return Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI()).toString();
    } catch (java.net.URISyntaxException e) {
      throw new AssertionError(e);
    }
  }
}
