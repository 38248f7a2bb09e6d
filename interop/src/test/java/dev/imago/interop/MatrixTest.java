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
import dev.imago.testing.Script.Op;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Every kind of image that the format allows, written by either side and read by the other. */
class MatrixTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int QEMU_COMMANDS = LONG ? 150 : 30;
  private static final int STEPS = LONG ? 600 : 60;
  private static final Mix MIX =
      Mix.USUAL.with(Op.GROW, 2).with(Op.SHRINK, 2).with(Op.REOPEN, 2).with(Op.FLUSH, 3);

  @TempDir private Path folder;

  static Stream<Combination> combinations() {
    return Combination.all();
  }

  static Stream<Combination> uncompressed() {
    return combinations().filter(c -> !c.kind().compressed());
  }

  @Test
  void theMatrixIsWhole() {
    assertThat(combinations()).doesNotHaveDuplicates().hasSize(4 * (8 * 3 + 5) + 2 * 4 * 3);
  }

  @ParameterizedTest
  @MethodSource("combinations")
  void whatQemuWroteIsReadByteForByte(Combination combination) throws Exception {
    combination.makeBacking(folder);
    Path path = folder.resolve("disk.qcow2");
    combination.makeWithQemu(path);
    Qemu.io(path, qemuCommands(combination));
    byte[] expected = Qemu.read(path, folder.resolve("scratch"));
    byte[] before = Files.readAllBytes(path);

    try (Image image = Images.openReadOnly(path, References.sameFolder())) {
      assertThat(image.size()).isEqualTo(combination.size());
      assertSame(expected, read(image, 1 << 20));
      assertSame(expected, read(image, 12_345));
    }
    assertThat(Images.check(path, "qcow2", false, Progress.NONE).findings()).isEmpty();
    assertThat(before).isEqualTo(Files.readAllBytes(path));
  }

  @ParameterizedTest
  @MethodSource("combinations")
  void whatWeWroteIsRightForQemu(Combination combination) throws Exception {
    byte[] behind = combination.makeBacking(folder);
    Path path = folder.resolve("disk.qcow2");
    if (combination.kind().compressed()) {
      behind = combination.makeWithQemu(path);
    } else {
      Images.create(path, combination.createOptions(path));
    }
    writeAndJudge(combination, path, behind);
  }

  @ParameterizedTest
  @MethodSource("uncompressed")
  void whatWeWroteIntoQemusImagesIsRightForQemu(Combination combination) throws Exception {
    byte[] behind = combination.makeBacking(folder);
    Path path = folder.resolve("disk.qcow2");
    combination.makeWithQemu(path);
    writeAndJudge(combination, path, behind);
  }

  private void writeAndJudge(Combination combination, Path path, byte[] behind) throws Exception {
    ByteOracle oracle = new ByteOracle(combination.size());
    if (combination.kind().backing()) {
      oracle = new ByteOracle(combination.size(), behind);
    } else if (combination.kind().compressed()) {
      oracle.writing(0, behind).done();
    }
    long seed = combination.seed();
    Script script = new Script(seed, MIX, () -> open(path), oracle, combination.size() + (1 << 20));
    script.run(STEPS);
    oracle.verify(script.image());
    List<String> patterns = patterns(script.image(), oracle, seed);
    oracle.verify(script.image());
    script.close();

    Qemu.check(path).clean();
    assertThat(Images.check(path, "qcow2", false, Progress.NONE).findings()).isEmpty();
    byte[] expected = oracle.expected();
    assertSame(expected, Qemu.read(path, folder.resolve("scratch")));
    Qemu.io(path, patterns);
    if (combination.kind() == Combination.Kind.DATA_FILE_RAW) {
      byte[] raw = Files.readAllBytes(Path.of(path + ".data"));
      assertSame(expected, Arrays.copyOf(raw, expected.length));
    }
  }

  private static Image open(Path path) throws IOException {
    OpenOptions options = OpenOptions.of(References.sameFolder()).format("qcow2");
    return Images.open(path, options.writable(true));
  }

  /** Writes runs of one byte each, and says how qemu-io finds them. */
  private static List<String> patterns(Image image, ByteOracle oracle, long seed)
      throws IOException {
    List<String> reads = new ArrayList<>();
    SplittableRandom random = new SplittableRandom(seed);
    long part = image.size() / 4;
    for (int i = 0; i < 4 && part > 0; i++) {
      long at = i * part + random.nextLong(part);
      int length = (int) Math.min(1 + random.nextInt(100_000), (i + 1) * part - at);
      byte[] bytes = new byte[length];
      Arrays.fill(bytes, (byte) (i + 1));
      ByteOracle.Change change = oracle.writing(at, bytes);
      image.write(ByteBuffer.wrap(bytes), at);
      change.done();
      reads.add("read -P %d %d %d".formatted(i + 1, at, length));
    }
    return reads;
  }

  private static List<String> qemuCommands(Combination combination) {
    List<String> commands = new ArrayList<>();
    SplittableRandom random = new SplittableRandom(combination.seed());
    long size = combination.size();
    int cluster = combination.clusterSize();
    for (int i = 0; i < QEMU_COMMANDS; i++) {
      long at = random.nextLong(size / 512) * 512;
      if (random.nextBoolean()) {
        at = at / cluster * cluster;
      }
      long length = Math.min(size - at, 512L * (1 + random.nextInt(3 * cluster / 512)));
      commands.add(
          switch (random.nextInt(6)) {
            case 0 -> "write -z %d %d".formatted(at, length);
            case 1 -> "write -z -u %d %d".formatted(at, length);
            case 2 -> "discard %d %d".formatted(at, length);
            default -> "write -P %d %d %d".formatted(1 + random.nextInt(255), at, length);
          });
    }
    return commands;
  }

  private static byte[] read(Image image, int piece) throws IOException {
    byte[] all = new byte[(int) image.size()];
    for (int at = 0; at < all.length; at += piece) {
      image.read(ByteBuffer.wrap(all, at, Math.min(piece, all.length - at)), at);
    }
    return all;
  }

  private static void assertSame(byte[] expected, byte[] found) {
    assertThat(found.length).isEqualTo(expected.length);
    assertThat(Arrays.mismatch(expected, found)).as("first wrong byte").isEqualTo(-1);
  }
}
