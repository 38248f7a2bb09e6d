package dev.imago.interop;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.cli.Main;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Bad images through the command line: a clear error, nothing changed, nothing left behind. */
class HostileTest {
  private static final int MUTATIONS = Boolean.getBoolean("imago.long") ? 5000 : 300;

  @TempDir Path folder;
  private Path image;

  private record Answer(int exit, String out, String err) {}

  @BeforeEach
  void makeImage() throws Exception {
    image = folder.resolve("bad.qcow2");
    Qemu.img("create", "-f", "qcow2", image, "4M");
    Qemu.io(image, List.of("write -P 1 0 200k", "write -P 2 3M 64k"));
  }

  private static Answer imago(Object... args) {
    var out = new ByteArrayOutputStream();
    var err = new ByteArrayOutputStream();
    int exit =
        Main.run(
            Arrays.stream(args).map(Object::toString).toArray(String[]::new),
            new PrintStream(out, false, StandardCharsets.UTF_8),
            new PrintStream(err, false, StandardCharsets.UTF_8));
    return new Answer(
        exit, out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
  }

  private void patch(long at, String hex) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.seek(at);
      file.write(HexFormat.of().parseHex(hex));
    }
  }

  @ParameterizedTest(name = "{0}: {2} at {1}")
  @CsvSource({
    "version, 4, 00000009",
    "cluster_bits, 20, 00000008",
    "cluster_bits, 20, 00000016",
    "cluster_bits, 20, ffffffff",
    "size, 24, 7fffffffffffffff",
    "size, 24, 8000000000000000",
    "size, 24, ffffffffffffffff",
    "crypt_method, 32, 00000007",
    "l1_size, 36, ffffffff",
    "l1_size, 36, 00000000",
    "l1_table_offset, 40, 0000000000030001",
    "l1_table_offset, 40, ffffffffffff0000",
    "refcount_table_offset, 48, 0000000000010200",
    "refcount_table_offset, 48, ffffffffffff0000",
    "refcount_table_clusters, 56, ffffffff",
    "refcount_table_clusters, 56, 00000000",
    "nb_snapshots, 60, ffffffff",
    "snapshots_offset, 60, 000000010000000000000200",
    "incompatible_features, 72, 8000000000000000",
    "refcount_order, 96, 00000007",
    "header_length, 100, 00000008",
    "header_length, 100, ffffffff",
    "backing_file_offset, 8, 00000000ffffffff00000010",
    "extension, 112, e2792acaffffffff",
    "L2 entry, 262144, 8000000000050200",
    "L1 entry, 196608, 8000000000040200"
  })
  void aBadFieldIsNamedAndNothingIsChanged(String field, long at, String hex) throws Exception {
    patch(at, hex);
    byte[] before = Files.readAllBytes(image);
    Path target = folder.resolve("target.raw");

    Answer convert = imago("convert", "-f", "qcow2", "-O", "raw", image, target);

    assertThat(convert.exit()).as(convert.toString()).isEqualTo(1);
    assertThat(convert.err()).startsWith("imago: ").contains("bad.qcow2").contains(field);
    assertThat(convert.err()).doesNotContain("internal error").doesNotContain("\tat ");
    assertThat(target).doesNotExist();
    for (String command : List.of("info", "map", "check", "inspect")) {
      Answer other = imago(command, image);
      assertThat(other.err()).as(command).doesNotContain("internal error").doesNotContain("\tat ");
    }
    assertThat(Files.readAllBytes(image)).isEqualTo(before);
  }

  @Test
  void aFileCutOffAnywhereIsAnErrorOrReadsAsZeroes() throws Exception {
    byte[] whole = Files.readAllBytes(image);
    for (int length : new int[] {0, 3, 7, 8, 71, 72, 103, 104, 111, 112, 400, 65536, 200_000}) {
      Files.write(image, Arrays.copyOf(whole, length));
      for (String command : List.of("info", "map", "check", "inspect")) {
        Answer answer = imago(command, image);
        assertThat(answer.err())
            .as(command + " of " + length + " bytes")
            .doesNotContain("internal error")
            .doesNotContain("\tat ");
      }
      boolean headerCut = length < 112;
      boolean extensionCut = length > 112 && length < 112 + 384;
      Answer answer = imago("info", "-f", "qcow2", image);
      assertThat(answer.exit())
          .as("info of %d bytes: %s", length, answer)
          .isEqualTo(headerCut || extensionCut ? 1 : 0);
    }
  }

  @Test
  void randomDamageNeverEndsInAnythingButAnAnswerOrATypedError() throws Exception {
    byte[] whole = Files.readAllBytes(image);
    Path target = folder.resolve("target.raw");
    for (int seed = 0; seed < MUTATIONS; seed++) {
      SplittableRandom random = new SplittableRandom(seed);
      byte[] damaged = whole.clone();
      int hits = 1 + random.nextInt(8);
      for (int i = 0; i < hits; i++) {
        int at =
            switch (random.nextInt(4)) {
              case 0 -> random.nextInt(112);
              case 1 -> 112 + random.nextInt(400);
              case 2 -> 65536 * (1 + random.nextInt(4)) + random.nextInt(64);
              default -> random.nextInt(damaged.length);
            };
        damaged[at] = (byte) (random.nextBoolean() ? random.nextInt() : 1 << random.nextInt(8));
      }
      Files.write(image, damaged);
      for (String command : List.of("info", "check", "map")) {
        Answer answer = imago(command, "-f", "qcow2", image);
        assertThat(answer.err())
            .as("seed %d, %s", seed, command)
            .doesNotContain("internal error")
            .doesNotContain("\tat ");
      }
      assertThat(Files.readAllBytes(image)).as("seed " + seed).isEqualTo(damaged);
    }
    assertThat(target).doesNotExist();
  }

  @Test
  void chainsThatBiteTheirTailOrNeverEndAreRefused() throws Exception {
    Path self = folder.resolve("self.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-u", "-b", "self.qcow2", "-F", "qcow2", self, "1M");
    Path one = folder.resolve("one.qcow2");
    Path two = folder.resolve("two.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-u", "-b", "two.qcow2", "-F", "qcow2", one, "1M");
    Qemu.img("create", "-q", "-f", "qcow2", "-u", "-b", "one.qcow2", "-F", "qcow2", two, "1M");
    for (Path loop : List.of(self, one)) {
      for (String command : List.of("map", "info")) {
        Answer answer =
            command.equals("info") ? imago("info", "--backing-chain", loop) : imago("map", loop);
        assertThat(answer.exit()).as(answer.toString()).isEqualTo(1);
        assertThat(answer.err()).contains("loop");
      }
    }
    for (int i = 0; i <= 201; i++) {
      Path link = folder.resolve("link%03d.qcow2".formatted(i));
      String next = "link%03d.qcow2".formatted(i + 1);
      Qemu.img("create", "-q", "-f", "qcow2", "-u", "-b", next, "-F", "qcow2", link, "1M");
    }
    Answer deep = imago("map", folder.resolve("link000.qcow2"));
    assertThat(deep.exit()).isEqualTo(1);
    assertThat(deep.err()).contains("200");
  }

  @Test
  void inspectOpensNothingButTheFile() throws Exception {
    Path backing = folder.resolve("backing.raw");
    Files.write(backing, new byte[1 << 20]);
    Path data = folder.resolve("data.raw");
    Path naming = folder.resolve("naming.qcow2");
    Qemu.img(
        "create", "-f", "qcow2", "-o", "data_file=" + data, "-b", backing, "-F", "raw", naming);
    Path trace = folder.resolve("trace");
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();

    Tool.Outcome outcome =
        Tool.run(
            "strace",
            "-f",
            "-e",
            "trace=open,openat,openat2,creat",
            "-o",
            trace,
            java,
            "-XX:-UsePerfData",
            "--enable-native-access=ALL-UNNAMED",
            "-cp",
            System.getProperty("java.class.path"),
            "dev.imago.cli.Main",
            "inspect",
            naming);

    assertThat(outcome.status()).as(outcome.toString()).isEqualTo(2);
    assertThat(outcome.out()).contains("backing.raw").contains("data.raw");
    List<String> opened =
        Files.readAllLines(trace).stream()
            .filter(line -> line.contains(folder.toString()))
            .toList();
    assertThat(opened).isNotEmpty().allSatisfy(line -> assertThat(line).contains("naming.qcow2"));
    assertThat(opened).noneSatisfy(line -> assertThat(line).containsAnyOf("O_RDWR", "O_WRONLY"));
  }

  @Test
  void theWorstTablesFitIntoASmallHeap() throws Exception {
    Path huge = folder.resolve("huge.qcow2");
    Qemu.img("create", "-f", "qcow2", "-o", "cluster_size=512", huge, "128G");
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    for (String command : List.of("info", "map", "check")) {
      Tool.run(
              java,
              "-Xmx128m",
              "-XX:MaxDirectMemorySize=64m",
              "-XX:+UseSerialGC",
              "--enable-native-access=ALL-UNNAMED",
              "-cp",
              System.getProperty("java.class.path"),
              "dev.imago.cli.Main",
              command,
              huge)
          .ok();
    }
  }
}
