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
  void calledQemuIoItIsNothingButTheCommandIo() throws Exception {
    Files.createSymbolicLink(folder.resolve("qemu-io"), ROOT.resolve("imago"));
    Path disk = folder.resolve("disk.raw");
    run(folder, Map.of(), ROOT.resolve("imago").toString(), "create", "-q", disk.toString(), "1M");

    Result asked = run(folder, Map.of(), "sh", "-c", "echo length | ./qemu-io -r disk.raw");
    Result failed = run(folder, Map.of(), "./qemu-io", "-f", "qcow2", "disk.raw");
    Result killed = run(folder, Map.of(), "./qemu-io", "-c", "sigraise 15", "-c", "length");

    assertThat(asked).isEqualTo(new Result(0, "qemu-io> 1 MiB\nqemu-io> ", ""));
    assertThat(failed)
        .isEqualTo(
            new Result(
                1, "", "qemu-io: can't open device disk.raw: Image is not in qcow2 format\n"));
    assertThat(killed).isEqualTo(new Result(143, "", ""));
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

  @Test
  void aPersonsFileSaysSafeAndTheEnvironmentGoesBeforeIt() throws Exception {
    String imago = ROOT.resolve("imago").toString();
    Path config = Files.createDirectories(folder.resolve("config/imago")).resolve("config");
    Map<String, String> home = Map.of("XDG_CONFIG_HOME", folder.resolve("config").toString());
    Files.write(folder.resolve("disk.raw"), new byte[512]);

    Files.writeString(config, "# ours\n\n  safe = yes");
    assertThat(run(folder, home, imago, "info", "disk.raw").err()).contains("refused by --safe");
    assertThat(
            run(
                    folder,
                    Map.of("XDG_CONFIG_HOME", home.get("XDG_CONFIG_HOME"), "IMAGO_SAFE", ""),
                    imago,
                    "info",
                    "disk.raw")
                .exit())
        .isZero();
    Files.writeString(config, "safe=no\n");
    assertThat(run(folder, home, imago, "info", "disk.raw").exit()).isZero();
  }

  /** What was meant to keep images out must not be passed over. */
  @Test
  void aPersonsFileThatIsNotUnderstoodEndsTheCommand() throws Exception {
    String imago = ROOT.resolve("imago").toString();
    Path config = Files.createDirectories(folder.resolve("config/imago")).resolve("config");
    Map<String, String> home = Map.of("XDG_CONFIG_HOME", folder.resolve("config").toString());

    Files.writeString(config, "safe = yes\nsaef = yes\n");
    assertThat(run(folder, home, imago, "--version"))
        .isEqualTo(
            new Result(
                1,
                "",
                "imago: %s:2: 'saef' is not known; the only key is safe\n".formatted(config)));
    Files.writeString(config, "safe = maybe\n");
    assertThat(run(folder, home, imago, "--version").err())
        .endsWith(":1: safe is 'maybe'; it may be yes or no\n");
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

  /** What vdsm, CDI and Nova have their images handled under. */
  @Test
  void commandsOfAllKindsFitIntoOneGibibyteOfAddressSpaceAndLeaveNothingBehind() throws Exception {
    Path temporary = Files.createDirectory(folder.resolve("tmp"));
    String script =
        """
        set -e
        ulimit -v 1048576
        truncate -s 2G d.raw
        for at in 0 3 100 1023 2047; do
          head -c 700000 /dev/urandom | dd of=d.raw bs=1M seek=$at conv=notrunc status=none
        done
        "$0" convert -O qcow2 d.raw d.qcow2
        "$0" info d.qcow2 >info
        "$0" check d.qcow2 >check
        "$0" map --output=json d.qcow2 >map
        "$0" convert -c -O qcow2 d.raw z.qcow2
        "$0" convert -c -m 16 -O qcow2 -o compression_type=zstd d.qcow2 zstd.qcow2
        "$0" check zstd.qcow2 >>check
        "$0" convert -O raw z.qcow2 z.raw
        cmp d.raw z.raw
        "$0" convert -m 16 -O raw zstd.qcow2 z.raw
        cmp d.raw z.raw
        "$0" compare d.raw zstd.qcow2 >compare
        """;

    Result result =
        run(
            folder,
            Map.of("IMAGO_JAVA_OPTS", "-Djava.io.tmpdir=" + temporary, "TMPDIR", temporary + ""),
            "sh",
            "-c",
            script,
            ROOT.resolve("imago").toString());

    assertThat(result).isEqualTo(new Result(0, "", ""));
    assertThat(temporary).isEmptyDirectory();
  }

  @Test
  void imagoSafeMakesEveryCallSafe() throws Exception {
    String script =
        """
        "$0" create -q -f qcow2 base.qcow2 1M
        "$0" create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
        ln -s "$0" qemu-img
        for safe in '' 0 no 1 yes; do
          IMAGO_SAFE=$safe "$0" map --output=json top.qcow2 >/dev/null 2>&1
          echo "$safe $?"
        done
        IMAGO_SAFE=1 ./qemu-img convert top.qcow2 x.raw
        """;

    Result result = run(folder, Map.of(), "sh", "-c", script, ROOT.resolve("imago").toString());

    assertThat(result.out()).isEqualTo(" 0\n0 0\nno 0\n1 1\nyes 1\n");
    assertThat(result.err())
        .isEqualTo(
            "qemu-img: Could not open 'top.qcow2': refused by --safe: it names the backing file"
                + " 'base.qcow2'\n");
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
