package dev.imago.interop;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The script {@code ./imago}: finds its JDK and its clone, and adds nothing to what is printed. */
class LauncherTest {
  private static final Path ROOT = Path.of(System.getProperty("imago.root")).toAbsolutePath();

  private record Result(int exit, String out, String err) {}

  @TempDir Path folder;

  @BeforeAll
  static void buildOnce(@TempDir Path folder) throws Exception {
    Result result = run(folder, Map.of(), ROOT.resolve("imago").toString(), "--version");
    assertThat(result.exit()).as(result.err()).isZero();
  }

  @Test
  void worksThroughSymlinksFromAnyFolderAndPassesArgumentsAsTheyAre() throws Exception {
    Path elsewhere = Files.createDirectories(folder.resolve("a folder/deep"));
    Files.createSymbolicLink(elsewhere.resolve("one"), ROOT.resolve("imago"));
    Files.createSymbolicLink(folder.resolve("two"), Path.of("a folder/deep/one"));

    Result result =
        run(folder, Map.of(), "./two", "create", "-q", "-f", "raw", "a folder/$HOME *.raw", "1M");

    assertThat(result).isEqualTo(new Result(0, "", ""));
    assertThat(folder.resolve("a folder/$HOME *.raw")).hasSize(1 << 20);
  }

  @Test
  void exitCodeAndMessageAreTheCommandsOwn() throws Exception {
    Result result = run(folder, Map.of(), ROOT.resolve("imago").toString(), "no-such-command");

    assertThat(result.exit()).isEqualTo(1);
    assertThat(result.err()).startsWith("imago: ").doesNotContain("WARNING");
  }

  @Test
  void optionsMeantForOtherJvmsNeitherReachUsNorShowOnStderr() throws Exception {
    Result result =
        run(
            folder,
            Map.of("JAVA_TOOL_OPTIONS", "-Dx=y", "JDK_JAVA_OPTIONS", "-Dx=y", "CLASSPATH", "/x"),
            ROOT.resolve("imago").toString(),
            "--version");

    assertThat(result.exit()).isZero();
    assertThat(result.err()).isEmpty();
  }

  /** Services run with LC_ALL=C, and their users' files have names all the same. */
  @Test
  void fileNamesAreUtf8WhateverTheLocaleIs() throws Exception {
    for (String locale : List.of("C", "POSIX", "xx_XX.ISO-8859-1", "")) {
      Result result =
          run(
              folder,
              Map.of("LC_ALL", locale, "LANG", "C"),
              "sh",
              "-c",
              // ä€ in UTF-8
              "n=$(printf 'a\\303\\244\\342\\202\\254.raw') && '%s/imago' create -f raw \"$n\" 1M"
                      .formatted(ROOT)
                  + " && test -f \"$n\" && rm \"$n\"");

      assertThat(result)
          .isEqualTo(new Result(0, "Formatting 'a\u00e4\u20ac.raw', fmt=raw size=1048576\n", ""));
    }
  }

  @Test
  void runsUnderTheAddressSpaceLimitThatManagementSoftwareSets() throws Exception {
    Result result =
        run(
            folder,
            Map.of(),
            "sh",
            "-c",
            "ulimit -v 1048576; exec '" + ROOT + "/imago' create -q -f raw limited.raw 1G");

    assertThat(result).isEqualTo(new Result(0, "", ""));
  }

  @Test
  void aJdkThatIsTooOldOrNoneIsNamedAndNotTaken() throws Exception {
    Path old = Files.createDirectories(folder.resolve("old/bin")).getParent();
    Files.createFile(old.resolve("bin/javac")).toFile().setExecutable(true);

    for (String version : List.of("17.0.15", "25", "25.0.2", "25.0.1+8", "24.0.9")) {
      Files.writeString(old.resolve("release"), "JAVA_VERSION=\"" + version + "\"\n");
      Result result =
          run(
              folder,
              Map.of("IMAGO_JAVA_HOME", old.toString()),
              ROOT.resolve("imago").toString(),
              "--version");

      assertThat(result)
          .isEqualTo(
              new Result(
                  1,
                  "",
                  "imago: IMAGO_JAVA_HOME=%s is not a JDK 25.0.3 or newer but %s%n"
                      .formatted(old, version)));
    }
  }

  private static Result run(Path folder, Map<String, String> environment, String... command)
      throws IOException, InterruptedException {
    Path out = Files.createTempFile(folder, "out", "");
    Path err = Files.createTempFile(folder, "err", "");
    ProcessBuilder builder =
        new ProcessBuilder(command)
            .directory(folder.toFile())
            .redirectOutput(out.toFile())
            .redirectError(err.toFile());
    builder.environment().remove("JAVA_TOOL_OPTIONS");
    builder.environment().putAll(environment);
    int exit = builder.start().waitFor();
    return new Result(exit, Files.readString(out), Files.readString(err));
  }
}
