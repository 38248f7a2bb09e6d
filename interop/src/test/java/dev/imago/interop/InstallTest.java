package dev.imago.interop;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Tool;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code ./imago install}: what it puts into a folder needs nothing else, and no JDK. */
class InstallTest {
  private static final Path ROOT = Path.of(System.getProperty("imago.root")).toAbsolutePath();

  @TempDir static Path folder;

  /** Where it is used: not where it was installed. */
  private static Path moved;

  private static Path imago;

  @BeforeAll
  static void install() throws Exception {
    Path prefix = folder.resolve("a prefix");
    Tool.Outcome outcome = Tool.run(ROOT.resolve("imago"), "install", "--prefix", prefix).ok();
    assertThat(outcome.out())
        .isEqualTo("Installed in %s: start %<s/bin/imago\n".formatted(prefix.toRealPath()));
    moved = Files.move(prefix, folder.resolve("elsewhere"));
    imago = moved.resolve("bin/imago");
    Path bin = Files.createDirectory(folder.resolve("bin"));
    for (String program : List.of("dirname", "readlink")) {
      Path real = Path.of(Tool.run("sh", "-c", "command -v " + program).ok().out().strip());
      Files.createSymbolicLink(bin.resolve(program), real);
    }
  }

  /** A program in an environment that has two other programs, and no word of Java. */
  private static Tool.Outcome alone(Object... command) throws Exception {
    List<Object> words = new ArrayList<>(List.of("env", "-i", "PATH=" + folder.resolve("bin")));
    words.addAll(List.of(command));
    return Tool.run(words.toArray());
  }

  @Test
  void worksWithoutAnyJdk() throws Exception {
    Path image = folder.resolve("x.qcow2");
    Path copy = folder.resolve("copy.qcow2");
    Path raw = folder.resolve("x.raw");

    alone(imago, "convert", "-O", "qcow2", ROOT.resolve("examples/notes.raw"), image).ok();
    alone(imago, "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", image, copy).ok();
    alone(imago, "convert", "-O", "raw", copy, raw).ok();

    assertThat(Files.mismatch(raw, ROOT.resolve("examples/notes.raw"))).isEqualTo(-1);
    assertThat(alone(imago, "check", copy).ok().err()).isEmpty();
  }

  @Test
  void noFileOfAnInstalledJdkIsOpened() throws Exception {
    Path trace = folder.resolve("trace");
    Path image = folder.resolve("y.qcow2");
    alone(imago, "create", "-q", "-f", "qcow2", image, "1M").ok();

    Tool.run("strace", "-f", "-e", "trace=open,openat,execve", "-o", trace, imago, "info", image)
        .ok();

    List<String> opened =
        Files.readAllLines(trace).stream()
            .filter(line -> line.contains("libjvm.so") || line.contains(".jar\""))
            .toList();
    assertThat(opened)
        .isNotEmpty()
        .allSatisfy(line -> assertThat(line).contains(moved.toRealPath().toString()));
  }

  /** Silently doing without would cost every call some tens of milliseconds. */
  @Test
  void theAotCacheIsUsedAfterTheMove() throws Exception {
    alone("IMAGO_JAVA_OPTS=-XX:AOTMode=on -Xlog:aot=error", imago, "--version").ok();
  }

  @Test
  void aLinkNamedQemuImgAnswersByThatName() throws Exception {
    Path link = Files.createSymbolicLink(folder.resolve("qemu-img"), imago);

    assertThat(alone(link, "--version").ok().out()).startsWith("qemu-img version 7.2");
  }

  @Test
  void installingOverAnInstallationReplacesIt() throws Exception {
    Path prefix = folder.resolve("twice");
    Tool.run(ROOT.resolve("imago"), "install", "--prefix=" + prefix).ok();
    Files.writeString(prefix.resolve("lib/imago/stale"), "");

    Tool.run(ROOT.resolve("imago"), "install", "--prefix=" + prefix).ok();

    assertThat(prefix.resolve("lib/imago/stale")).doesNotExist();
    try (Stream<Path> inLib = Files.list(prefix.resolve("lib"))) {
      assertThat(inLib).containsExactly(prefix.resolve("lib/imago"));
    }
    alone(prefix.resolve("bin/imago"), "--version").ok();
  }

  /** It was moved away and deleted, whatever it was: a checkout in ~/lib/imago for one. */
  @Test
  void aFolderOfThatNameThatWasNotInstalledIsNotDeleted() throws Exception {
    Path prefix = folder.resolve("other");
    Path precious = prefix.resolve("lib/imago/precious");
    Files.createDirectories(precious.getParent());
    Files.writeString(precious, "mine");

    Tool.Outcome outcome = Tool.run(ROOT.resolve("imago"), "install", "--prefix", prefix);

    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.err()).contains("lib/imago is there, and is no installed imago");
    assertThat(precious).hasContent("mine");
  }

  @Test
  void aWrongCallInstallsNothing() throws Exception {
    Tool.Outcome outcome = Tool.run(ROOT.resolve("imago"), "install", "--perfix", "x");

    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.err())
        .isEqualTo("imago: install: '--perfix' is not known; usage: imago install --prefix DIR\n");
  }

  private static String completed(String... words) throws IOException, InterruptedException {
    String script =
        """
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _imago
        echo "${COMPREPLY[*]}"
        """;
    List<Object> command = new ArrayList<>(List.of("bash", "-c", script, "bash"));
    command.add(moved.resolve("share/bash-completion/completions/imago"));
    command.addAll(List.of(words));
    return Tool.run(command.toArray()).ok().out().strip();
  }

  @Test
  void bashCompletes() throws Exception {
    assertThat(completed("imago", "conv")).isEqualTo("convert");
    assertThat(completed("imago", "convert", "-O", "q")).isEqualTo("qcow2");
    assertThat(completed("imago", "convert", "--compr")).isEqualTo("--compression-level");
    assertThat(completed("imago", "info", "--output", "=", "j")).isEqualTo("json");
    assertThat(completed("imago", "check", "-r", "")).isEqualTo("leaks all");
    assertThat(completed("imago", "--safe", "convert", "-t", "un")).isEqualTo("unsafe");
    assertThat(completed("imago", "help", "saf")).isEqualTo("safe");
    // Files: bash's own default.
    assertThat(completed("imago", "info", "x")).isEmpty();
  }

  @Test
  void everyCommandHasAManualPageThatManCanRead() throws Exception {
    Path pages = moved.resolve("share/man/man1");
    String help = alone(imago, "--help").ok().out();
    for (String command : List.of("create", "info", "convert", "check", "map")) {
      assertThat(help).contains("\n  " + command + " [");
      assertThat(pages.resolve("imago-" + command + ".1")).isNotEmptyFile();
    }
    assertThat(Files.readString(pages.resolve("imago-convert.1")))
        .startsWith(".TH IMAGO\\-CONVERT 1 ")
        .contains("\n.SH NAME\nimago\\-convert \\- ")
        .contains("\n.TP\n.B \\-O FMT\n");
    assertThat(Files.readString(pages.resolve("imago.1"))).contains("\n.BR imago\\-info (1)\n");
  }

  @Test
  void zshAndFishHaveTheirFiles() {
    assertThat(moved.resolve("share/zsh/site-functions/_imago"))
        .content()
        .startsWith("#compdef imago\n");
    assertThat(moved.resolve("share/fish/vendor_completions.d/imago.fish"))
        .content()
        .contains(
            "complete -c imago -n '__fish_seen_subcommand_from convert' -s O -x -a 'qcow2 raw'");
  }
}
