package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.imago.CreateOptions;
import dev.imago.Images;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What {@code --safe} refuses, and what it leaves alone. */
class SafetyTest {
  @TempDir Path folder;

  private record Answer(int exit, String out, String err) {}

  private static Answer ask(String program, Object... words) {
    var out = new ByteArrayOutputStream();
    var err = new ByteArrayOutputStream();
    String[] args = new String[words.length];
    for (int i = 0; i < words.length; i++) {
      args[i] = words[i].toString();
    }
    int exit =
        Main.run(
            program,
            args,
            new PrintStream(out, true, StandardCharsets.UTF_8),
            new PrintStream(err, true, StandardCharsets.UTF_8));
    return new Answer(
        exit, out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
  }

  private Path plain;

  @BeforeEach
  void plainImage() throws IOException {
    plain = folder.resolve("plain.qcow2");
    Images.create(plain, CreateOptions.of("qcow2", 1 << 20));
  }

  /** An image that names {@code backing}, which need not be there. */
  private Path overlay(String name, String backing) throws IOException {
    Path path = folder.resolve(name);
    Images.create(path, CreateOptions.of("qcow2", 1 << 20).backing(backing, "qcow2"));
    return path;
  }

  private void refused(String why, Object... words) throws IOException {
    Path target = folder.resolve("target");
    Answer answer = ask("imago", words);

    assertEquals("", answer.out());
    assertTrue(answer.err().contains(": refused by --safe: " + why), answer.err());
    assertTrue(answer.exit() == 1 || answer.exit() == 2, "exit code " + answer.exit());
    assertFalse(Files.exists(target), "nothing was made");
  }

  private void everyCommandRefuses(String why, Path image) throws IOException {
    refused(why, "info", "--safe", image);
    refused(why, "--safe", "info", "--backing-chain", image);
    refused(why, "check", image, "--safe");
    refused(why, "map", "--safe", image);
    refused(why, "compare", "--safe", image, plain);
    refused(why, "compare", "--safe", plain, image);
    refused(why, "convert", "--safe", "-O", "raw", image, folder.resolve("target"));
    refused(why, "--safe", "snapshot", "-l", image);
    refused(why, "resize", "--safe", image, "2M");
    refused(why, "io", "--safe", "-r", "-c", "read 0 512", image);
  }

  @Test
  void aFileThatWouldBeProbedAsRaw() throws Exception {
    Path raw = Files.write(folder.resolve("disk.raw"), new byte[1 << 20]);

    everyCommandRefuses("its format was not named and no known one matches", raw);
    assertEquals(
        0,
        ask("imago", "convert", "--safe", "-f", "raw", "-O", "qcow2", raw, folder.resolve("target"))
            .exit());
  }

  @Test
  void aBackingFile() throws Exception {
    everyCommandRefuses(
        "it names the backing file 'plain.qcow2'", overlay("overlay.qcow2", "plain.qcow2"));
  }

  @Test
  void aBackingLoop() throws Exception {
    Path one = overlay("one.qcow2", "two.qcow2");
    overlay("two.qcow2", "one.qcow2");

    everyCommandRefuses("it names the backing file 'two.qcow2'", one);
  }

  @Test
  void aBackingFileThatIsNotThereOrIsAJsonName() throws Exception {
    String json = "json:{\"driver\":\"raw\",\"file\":{\"filename\":\"/etc/passwd\"}}";

    everyCommandRefuses("it names the backing file 'json:{", overlay("evil.qcow2", json));
  }

  @Test
  void aJsonNameOnTheCommandLine() throws Exception {
    refused("a json: name can name anything", "info", "--safe", "json:{\"driver\":\"qcow2\"}");
  }

  @Test
  void aDataFile() throws Exception {
    Path image = folder.resolve("external.qcow2");
    Images.create(image, CreateOptions.of("qcow2", 1 << 20).dataFile("data.raw", true));

    everyCommandRefuses("it names the data file 'data.raw'", image);
  }

  /** The text that names extents was how strangers read a cloud's files. */
  @Test
  void aVmdkDescriptor() throws Exception {
    Path image =
        Files.writeString(
            folder.resolve("disk.vmdk"),
            """
            # Disk DescriptorFile
            version=1
            createType="monolithicFlat"
            RW 2048 FLAT "/etc/passwd" 0
            """);

    everyCommandRefuses("its format was not named; it looks like vmdk", image);
  }

  @Test
  void moreTableThanIsSafe() throws Exception {
    Path image = folder.resolve("huge.qcow2");
    Images.create(image, CreateOptions.of("qcow2", 257L << 40));

    refused("its L1 table has 4210688 bytes, at most 4194304 are safe", "info", "--safe", image);
    assertEquals(0, ask("imago", "info", image).exit());
  }

  /** A header may have a longer table than its disk needs; all of it would be loaded. */
  @Test
  void moreTableThanTheDiskNeeds() throws Exception {
    Path image = folder.resolve("long.qcow2");
    Images.create(image, CreateOptions.of("qcow2", 1 << 20));
    try (FileChannel file = FileChannel.open(image, StandardOpenOption.WRITE)) {
      file.write(ByteBuffer.allocate(4).putInt(0, 1 << 20), 36); // l1_size
      file.write(ByteBuffer.allocate(8).putLong(0, 1 << 20), 40); // l1_table_offset
      file.write(ByteBuffer.allocate(1), 16 << 20);
    }

    refused("its L1 table has 8388608 bytes, at most 4194304 are safe", "info", "--safe", image);
  }

  @Test
  void whatNamesNothingIsOpened() throws Exception {
    assertEquals(0, ask("imago", "info", "--safe", plain).exit());
    assertEquals(0, ask("imago", "--safe", "check", plain).exit());
    assertEquals(0, ask("imago", "compare", plain, plain, "--safe").exit());
  }

  @Test
  void whatTheCommandLineNamesIsOpened() throws Exception {
    Path overlay = folder.resolve("new.qcow2");
    Answer created =
        ask("imago", "--safe", "create", "-q", "-f", "qcow2", "-b", plain, "-F", "qcow2", overlay);
    assertEquals(new Answer(0, "", ""), created);
    Path copy = folder.resolve("copy.qcow2");
    Answer converted =
        ask("imago", "--safe", "convert", "-O", "qcow2", "-B", plain, "-F", "qcow2", plain, copy);
    assertEquals(new Answer(0, "", ""), converted);
  }

  @Test
  void aBackingFileNamedOnTheCommandLineMayNameNoOther() throws Exception {
    Path overlay = overlay("overlay.qcow2", "plain.qcow2");
    Path copy = folder.resolve("target");

    Answer answer =
        ask("imago", "--safe", "convert", "-O", "qcow2", "-B", overlay, "-F", "qcow2", plain, copy);

    assertEquals(1, answer.exit());
    assertFalse(Files.exists(copy));
  }

  /** A name on the command line is a person's; what it leads to may still be a stranger's. */
  @Test
  void aBackingFileNamedOnTheCommandLineIsJudgedToo() throws Exception {
    Path huge = folder.resolve("huge.qcow2");
    Images.create(huge, CreateOptions.of("qcow2", 257L << 40));
    Path target = folder.resolve("target");

    for (Path backing : new Path[] {huge, overlay("overlay.qcow2", "plain.qcow2")}) {
      refused("it", "--safe", "create", "-f", "qcow2", "-b", backing, "-F", "qcow2", target);
      refused(
          "it", "--safe", "convert", "-O", "qcow2", "-B", backing, "-F", "qcow2", plain, target);
      refused("it", "--safe", "rebase", "-b", backing, "-F", "qcow2", plain);
    }
    assertEquals(null, Images.inspect(plain).backingFile());
  }

  @Test
  void anImageIsGivenNoNameThatIsNotAFilesEvenUnopened() throws Exception {
    String json = "json:{\"driver\":\"raw\",\"file\":{\"filename\":\"/etc/passwd\"}}";
    Path target = folder.resolve("target");

    refused(
        "a json: name is no file",
        "--safe",
        "create",
        "-u",
        "-f",
        "qcow2",
        "-b",
        json,
        "-F",
        "raw",
        target,
        "1M");
    refused("a json: name is no file", "--safe", "rebase", "-u", "-b", json, "-F", "raw", plain);
    assertEquals(null, Images.inspect(plain).backingFile());
  }

  @Test
  void qemuImgHasNoSuchOption() {
    assertEquals(
        "qemu-img: unrecognized option '--safe'\n" + "Try 'qemu-img --help' for more information\n",
        ask("qemu-img", "info", "--safe", plain).err());
  }

  @Test
  void theNextCommandOfTheSameProcessIsNotSafeAnyMore() throws Exception {
    Path overlay = overlay("overlay.qcow2", "plain.qcow2");
    assertEquals(1, ask("imago", "info", "--safe", overlay).exit());

    assertEquals(0, ask("imago", "info", overlay).exit());
  }

  @Test
  void inspectTellsTheVerdictByItsExitCode() throws Exception {
    Answer accepted = ask("imago", "inspect", plain);
    assertEquals(0, accepted.exit());
    assertTrue(accepted.out().endsWith("\nverdict: accepted\n"), accepted.out());

    Answer refused = ask("imago", "inspect", overlay("overlay.qcow2", "plain.qcow2"));
    assertEquals(2, refused.exit());
    assertTrue(
        refused
            .out()
            .endsWith("\nverdict: refused\nreason: it names the backing file 'plain.qcow2'\n"),
        refused.out());

    assertEquals(1, ask("imago", "inspect", folder.resolve("none")).exit());
  }

  @Test
  void inspectTellsProgramsToo() throws Exception {
    Answer answer =
        ask("imago", "inspect", "--output=json", overlay("overlay.qcow2", "plain.qcow2"));

    assertEquals(2, answer.exit());
    assertTrue(answer.out().contains("\"verdict\": \"refused\""), answer.out());
    assertTrue(answer.out().contains("\"it names the backing file 'plain.qcow2'\""), answer.out());
    assertTrue(answer.out().contains("\"compat-1.1\""), answer.out());
  }

  /** A name could otherwise hold a line of its own, such as another verdict. */
  @ParameterizedTest
  @ValueSource(strings = {"a\nverdict: accepted", "a\u001b[2Jb", "a\u202eb"})
  void aNameCannotForgeLines(String name) throws Exception {
    Answer answer = ask("imago", "inspect", overlay("overlay.qcow2", name));

    assertEquals(2, answer.exit());
    assertEquals(1, answer.out().lines().filter(line -> line.startsWith("verdict")).count());
    assertFalse(answer.out().contains("\u001b"), answer.out());
    assertFalse(answer.out().contains("\u202e"), answer.out());
  }
}
