package dev.imago.interop;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.References;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.Qemu;
import dev.imago.testing.Script;
import dev.imago.testing.Script.Mix;
import dev.imago.testing.Stamp;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code kill -9} of a process with three writers and a flusher, again and again. */
class KillTest {
  private static final int KILLS = Boolean.getBoolean("imago.long") ? 50 : 5;
  private static final int KILLS_PER_IMAGE = 5;
  private static final int SECOND_ROUND = 20;
  private static final List<String> OPTIONS =
      List.of(
          "cluster_size=65536",
          "cluster_size=4096,refcount_bits=64",
          "cluster_size=512",
          "cluster_size=65536,data_file=",
          "cluster_size=4096,refcount_bits=1,compat=1.1");

  private static final List<String> LAZY =
      List.of(
          "cluster_size=65536,lazy_refcounts=on", "cluster_size=4096,compat=1.1,lazy_refcounts=on");
  private static final int LAZY_KILLS = Boolean.getBoolean("imago.long") ? 20 : 4;

  @TempDir private Path folder;

  @Test
  void nothingFlushedIsLostAndTheImageGoesOn() throws Exception {
    assertThat(killed(OPTIONS, KILLS)).as("dirty images").isZero();
  }

  @Test
  void nothingFlushedIsLostWhereCountsAreLate() throws Exception {
    assertThat(killed(LAZY, LAZY_KILLS)).as("dirty images").isPositive();
  }

  /** Returns how many times the disk said that its counts are stale. */
  private int killed(List<String> kinds, int kills) throws Exception {
    int flushes = 0;
    int dirty = 0;
    ByteOracle oracle = new ByteOracle(0);
    Path file = folder.resolve("none");
    for (int kill = 0; kill < kills; kill++) {
      if (kill % KILLS_PER_IMAGE == 0) {
        String options = kinds.get(kill / KILLS_PER_IMAGE % kinds.size());
        file = folder.resolve("image%d.qcow2".formatted(kill));
        if (options.endsWith("=")) {
          options += file + ".data";
        }
        long size = options.contains("512") ? 2 << 20 : 12 << 20;
        Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, size);
        oracle = new ByteOracle(size);
      }
      List<String> said = runAndKill(file, kill);
      flushes += (int) said.stream().filter("flushed"::equals).count();
      replay(said, oracle, kill, file);
      if (Images.inspect(file).dirty()) {
        dirty++;
        oracle = repairedByQemu(file, oracle);
      } else {
        Qemu.check(file).withoutErrors();
        assertThat(Images.check(file, "qcow2", false, Progress.NONE).corruptions()).isZero();
      }
      oracle = goOn(file, oracle, kill);
      Qemu.check(file).withoutErrors();
    }
    System.out.printf(
        "%d processes killed, after %d flushes; %d left dirty images%n", kills, flushes, dirty);
    return dirty;
  }

  /** QEMU repairs a copy of what was left; both show the same. */
  private ByteOracle repairedByQemu(Path file, ByteOracle oracle) throws Exception {
    ByteOracle settled;
    try (Image image = Images.open(file, OpenOptions.of(References.sameFolder()))) {
      settled = oracle.verifyCrashed(image);
    }
    Path copy = folder.resolve("copy.qcow2");
    Files.copy(file, copy, StandardCopyOption.REPLACE_EXISTING);
    Qemu.img("check", "-r", "all", copy);
    Qemu.check(copy).clean();
    try (Image image = Images.open(copy, OpenOptions.of(References.sameFolder()))) {
      settled.verify(image);
    }
    return settled;
  }

  /** Starts the writer, lets it say so many lines, and kills it. */
  private static List<String> runAndKill(Path file, int seed) throws IOException {
    String classPath =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                classPath,
                KilledWriter.class.getName(),
                file.toString(),
                Integer.toString(seed))
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    RandomGenerator random = new SplittableRandom(seed);
    int lines = 10 + random.nextInt(random.nextBoolean() ? 100 : 4000);
    List<String> said = new ArrayList<>();
    try (BufferedReader out = process.inputReader(StandardCharsets.UTF_8)) {
      String line = out.readLine();
      while (line != null) {
        said.add(line);
        if (said.size() == lines) {
          process.toHandle().destroyForcibly(); // SIGKILL; what it said stays readable
        }
        line = out.readLine();
      }
    }
    assertThat(said.size()).as("lines said by the writer").isGreaterThanOrEqualTo(lines);
    return said;
  }

  /** Tells the oracle what the process said it did. */
  private static void replay(List<String> said, ByteOracle oracle, int seed, Path file)
      throws IOException {
    List<KilledWriter.Steps> steps = new ArrayList<>();
    List<ByteOracle.Change> running = new ArrayList<>();
    int clusterSize = Images.inspect(file).clusterSize();
    for (int id = 0; id < KilledWriter.WRITERS; id++) {
      steps.add(new KilledWriter.Steps(seed, id, clusterSize, oracle.size()));
      running.add(oracle.writing(0, new byte[0]));
    }
    Deque<Long> flush = new ArrayDeque<>();
    for (String line : said) {
      int id = line.charAt(line.length() - 1) - '0';
      switch (line.split(" ")[0]) {
        case "begin" -> running.set(id, begin(steps.get(id).next(), oracle, seed));
        case "done" -> running.get(id).done();
        case "flushing" -> flush.push(oracle.flushing());
        case "flushed" -> oracle.flushed(flush.pop());
        default -> throw new AssertionError(line);
      }
    }
  }

  private static ByteOracle.Change begin(KilledWriter.Step step, ByteOracle oracle, long seed) {
    return step.kind() == KilledWriter.Kind.WRITE
        ? oracle.writing(
            step.guestOffset(),
            Stamp.bytes(seed, step.guestOffset(), step.length(), step.version()))
        : oracle.zeroing(step.guestOffset(), step.length());
  }

  /** What was left is right, and is written on correctly. */
  private static ByteOracle goOn(Path file, ByteOracle oracle, int seed) throws IOException {
    ByteOracle settled;
    try (Image image = open(file)) {
      settled = oracle.verifyCrashed(image);
    }
    Script script = new Script(seed + 1000, Mix.USUAL, () -> open(file), settled, settled.size());
    script.run(SECOND_ROUND);
    settled.verify(script.image());
    script.close();
    return settled;
  }

  private static Image open(Path file) throws IOException {
    OpenOptions options = OpenOptions.of(References.sameFolder()).format("qcow2");
    return Images.open(file, options.writable(true));
  }
}
