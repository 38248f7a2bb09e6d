package dev.imago.qcow2;

import static dev.imago.qcow2.TestImages.filled;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;

import dev.imago.Snapshots;
import dev.imago.crypto.EncryptedStorage;
import dev.imago.image.CorruptImageException;
import dev.imago.image.EncryptionKeyException;
import dev.imago.image.Image;
import dev.imago.image.ImageException;
import dev.imago.image.LuksOptions;
import dev.imago.image.Mapping;
import dev.imago.image.Progress;
import dev.imago.image.Secret;
import dev.imago.image.Snapshot;
import dev.imago.image.SyncMode;
import dev.imago.image.WritableRun;
import dev.imago.qcow2.Qcow2CreateOptions.Preallocation;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.Qemu;
import dev.imago.testing.Script;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Objects;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Guest data under LUKS and under the legacy method, judged by QEMU. */
class EncryptionTest {
  private static final int SIZE = 3 << 20;

  @TempDir Path folder;

  private final Secret secret = secret("geheim");

  private static Secret secret(String text) {
    return new Secret(text.getBytes(StandardCharsets.UTF_8));
  }

  private LuksOptions luks() {
    return LuksOptions.of(secret).withIterationMillis(0);
  }

  private Path create(Qcow2CreateOptions options) throws IOException {
    Path file = folder.resolve("luks.qcow2");
    Files.deleteIfExists(file);
    try (FileStorage storage = FileStorage.create(file, FileStorage.Options.readWrite())) {
      Qcow2.create(storage, options, null, SyncMode.NONE);
    }
    return file;
  }

  private Path create() throws IOException {
    return create(Qcow2CreateOptions.ofSize(SIZE).withLuks(luks()));
  }

  private static Image open(Path file, Secret key) throws IOException {
    return Qcow2.open(
        FileStorage.open(file, FileStorage.Options.readWrite()),
        Qcow2OpenOptions.defaults().withWritable(true).withKey(key, false),
        TestImages.FILES);
  }

  private static Image openLocked(Path file) throws IOException {
    return Qcow2.open(
        FileStorage.open(file, FileStorage.Options.readOnly()),
        Qcow2OpenOptions.defaults().withKey(null, true),
        TestImages.FILES);
  }

  private static void io(Path file, String... commands) throws Exception {
    Object[] words = new Object[4 + 2 * commands.length + 1];
    words[0] = "qemu-io";
    words[1] = "--object";
    words[2] = "secret,id=key,data=geheim";
    words[3] = "--image-opts";
    for (int i = 0; i < commands.length; i++) {
      words[4 + 2 * i] = "-c";
      words[5 + 2 * i] = commands[i];
    }
    words[words.length - 1] = Qemu.encrypted(file);
    String out = Tool.run(words).ok().out();
    assertThat(out).doesNotContain("failed").doesNotContain("rror");
  }

  private byte[] readByQemu(Path file) throws Exception {
    Path raw = folder.resolve("seen.raw");
    Qemu.img(
        "convert",
        "-O",
        "raw",
        "--object",
        "secret,id=key,data=geheim",
        "--image-opts",
        Qemu.encrypted(file),
        raw);
    byte[] bytes = Files.readAllBytes(raw);
    Files.delete(raw);
    return bytes;
  }

  /** On a busy machine qemu-img cannot measure how fast it is. */
  private static void createByQemu(Path file, String options) throws Exception {
    for (int i = 0; i < 50; i++) {
      Object[] words = {
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=key,data=geheim",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10" + options,
        file,
        "1M"
      };
      Tool.Outcome outcome = Tool.run(words);
      if (outcome.status() == 0) {
        return;
      }
      assertThat(outcome.err()).contains("Unable to get accurate CPU usage");
    }
    org.junit.jupiter.api.Assumptions.abort("qemu-img could not measure this machine");
  }

  /**
   * Made by qemu-img and qemu-io 7.2 with {@code write -P 0x11 0 100k}, {@code write -P 0x22 300001
   * 5000}; kept here because qemu-img cannot make one on a busy machine.
   */
  @ParameterizedTest
  @ValueSource(strings = {"luks-aes128-xts", "luks-aes128-cbc-essiv"})
  void imagesThatQemuMadeAreReadAndContinued(String name) throws Exception {
    Path file = folder.resolve(name + ".qcow2");
    try (InputStream packed = getClass().getResourceAsStream(name + ".qcow2.gz")) {
      Files.copy(new GZIPInputStream(Objects.requireNonNull(packed)), file);
    }
    continueOn(file);
  }

  private void continueOn(Path file) throws Exception {
    byte[] expected = new byte[1 << 20];
    Arrays.fill(expected, 0, 100 << 10, (byte) 0x11);
    Arrays.fill(expected, 300_001, 305_001, (byte) 0x22);
    try (Image image = open(file, secret)) {
      assertThat(TestImages.read(image, 0, 1 << 20)).isEqualTo(expected);
      image.write(filled(100_001, 0x33), 50_001);
      image.write(filled(3, 0x44), 1_000_000);
    }
    Arrays.fill(expected, 50_001, 150_002, (byte) 0x33);
    Arrays.fill(expected, 1_000_000, 1_000_003, (byte) 0x44);
    assertThat(readByQemu(file)).isEqualTo(expected);
    Qemu.check(file, "geheim").clean();
  }

  @EnabledIfSystemProperty(named = "imago.long", matches = "true")
  @ParameterizedTest
  @CsvSource({
    "'',512",
    "'',65536",
    "',encrypt.cipher-alg=aes-128',4096",
    "',encrypt.cipher-alg=aes-256,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,"
        + "encrypt.ivgen-hash-alg=sha256',4096",
    "',encrypt.hash-alg=sha512,encrypt.ivgen-alg=plain',65536"
  })
  void qemusImagesAreReadAndContinued(String options, int clusterSize) throws Exception {
    Path file = folder.resolve("theirs.qcow2");
    createByQemu(file, options + ",cluster_size=" + clusterSize);
    io(file, "write -P 0x11 0 100k", "write -P 0x22 300001 5000");
    continueOn(file);
  }

  @ParameterizedTest(name = "clusters of {0}, {1} bits, v{2}, {3}")
  @CsvSource({
    "512,16,3,xts",
    "512,1,3,cbc",
    "4096,64,3,xts",
    "4096,16,2,xts",
    "65536,16,3,xts",
    "65536,16,3,cbc",
    "65536,16,3,xts-extended",
    "2097152,16,3,xts"
  })
  void whatAGuestDidIsThereAndCleanAfterClosing(int clusterSize, int bits, int version, String mode)
      throws Exception {
    LuksOptions how =
        mode.startsWith("xts")
            ? luks()
            : luks().withCipher("aes-256", "cbc").withIv("essiv", "sha256");
    Path file =
        create(
            Qcow2CreateOptions.ofSize(SIZE + 512)
                .withClusterSize(clusterSize)
                .withVersion(version, bits)
                .withExtendedL2(mode.endsWith("extended"))
                .withLuks(how));
    ByteOracle oracle = new ByteOracle(SIZE + 512);
    Qcow2OpenOptions options =
        Qcow2OpenOptions.defaults()
            .withWritable(true)
            .withSync(SyncMode.NONE)
            .withCaches(8192, 8192)
            .withKey(secret, false);
    long seed = Boolean.getBoolean("imago.long") ? System.nanoTime() : clusterSize + bits;
    Script script =
        new Script(
            seed,
            Script.Mix.USUAL
                .with(Script.Op.GROW, 2)
                .with(Script.Op.SHRINK, 1)
                .with(Script.Op.REOPEN, 1),
            () ->
                Qcow2.open(
                    FileStorage.open(file, FileStorage.Options.readWrite()),
                    options,
                    TestImages.FILES),
            oracle,
            8 << 20);
    try {
      script.run(Boolean.getBoolean("imago.long") ? 4000 : 300);
      script.close();
    } catch (Throwable t) {
      throw new AssertionError("seed " + seed + ": " + script.log(), t);
    }
    Qemu.check(file, "geheim").clean();
    assertThat(readByQemu(file)).as("seed " + seed).isEqualTo(oracle.expected());
  }

  @ParameterizedTest
  @EnumSource
  void aNewImageReadsAsZeroHoweverMuchOfItIsThere(Preallocation preallocation) throws Exception {
    Path file =
        create(Qcow2CreateOptions.ofSize(SIZE).withLuks(luks()).withPreallocation(preallocation));
    Qemu.check(file, "geheim").clean();
    assertThat(readByQemu(file)).containsOnly(0);
    io(file, "write -P 5 100 1000", "read -P 0 0 100", "read -P 0 1100 100k");
    try (Image image = open(file, secret)) {
      assertThat(TestImages.read(image, 1100, SIZE - 1100)).containsOnly(0);
      image.write(filled(1, 7), SIZE - 1);
      image.resize(2 * SIZE, Storage.Preallocation.FALLOC, false);
      assertThat(TestImages.read(image, SIZE, SIZE)).containsOnly(0);
    }
    Qemu.check(file, "geheim").clean();
    io(file, "read -P 7 3145727 1", "read -P 0 3145728 3145728");
  }

  /** A snapshot's machine state lies behind the disk, and is encrypted by its host offset too. */
  @Test
  void machineStateInSnapshotsStaysWhatItWas() throws Exception {
    Path file = create();
    io(file, "write -P 1 0 192k", "write -b -P 0x71 0 100k");
    snapshot(file, "-c", "vm");
    setVmStateSize(file, 100 << 10);
    try (Image image = open(file, secret)) {
      image.write(TestImages.filled(128 << 10, 2), 64 << 10);
      Snapshots.create(image, "later");
      assertThat(Snapshots.list(image))
          .extracting(Snapshot::name, Snapshot::vmStateSize)
          .containsExactly(tuple("vm", 100L << 10), tuple("later", 0L));
    }
    requireMachineState(file, "vm");
    try (Image image = open(file, secret)) {
      Snapshots.apply(image, "vm");
      assertThat(TestImages.read(image, 0, 192 << 10))
          .isEqualTo(TestImages.filled(192 << 10, 1).array());
    }
    requireMachineState(file, "vm");
    try (Image image = open(file, secret)) {
      image.write(TestImages.filled(64 << 10, 3), 0);
      Snapshots.delete(image, "later");
    }
    requireMachineState(file, "vm");
    try (Image image = open(file, secret)) {
      Snapshots.delete(image, "vm");
    }
    io(file, "read -P 3 0 64k", "read -P 1 64k 128k");
    Qemu.check(file, "geheim").clean();
  }

  private static void snapshot(Path file, String action, String name) throws Exception {
    Tool.run(
            "qemu-img",
            "snapshot",
            action,
            name,
            "--object",
            "secret,id=key,data=geheim",
            "--image-opts",
            Qemu.encrypted(file))
        .ok();
  }

  /** qemu-img makes snapshots without machine state: one is given to the only snapshot. */
  private static void setVmStateSize(Path file, int bytes) throws IOException {
    long entry = TestImages.word(file, 64);
    TestImages.setWord(file, entry + 40, bytes);
  }

  /** Has QEMU apply a snapshot of a copy, and looks for its machine state there. */
  private void requireMachineState(Path file, String name) throws Exception {
    Path copy = folder.resolve("applied.qcow2");
    Files.copy(file, copy, java.nio.file.StandardCopyOption.REPLACE_EXISTING);
    snapshot(copy, "-a", name);
    io(copy, "read -b -P 0x71 0 100k", "read -P 1 0 192k");
  }

  @Test
  void aDataFileIsEncryptedByItsOwnOffsets() throws Exception {
    Path file = folder.resolve("apart.qcow2");
    Path data = folder.resolve("apart.data");
    try (FileStorage storage = FileStorage.create(file, FileStorage.Options.readWrite());
        FileStorage apart = FileStorage.create(data, FileStorage.Options.readWrite())) {
      Qcow2.create(
          storage,
          Qcow2CreateOptions.ofSize(SIZE).withLuks(luks()).withDataFile(data.toString(), false),
          apart,
          SyncMode.NONE);
    }
    try (Image image = open(file, secret)) {
      image.write(filled(200_000, 0x5a), 100_000);
    }
    assertThat(Files.readAllBytes(data)).isNotEqualTo(new byte[0]).hasSizeGreaterThan(300_000);
    io(file, "read -P 0x5a 100000 200000", "read -P 0 0 100000", "write -P 3 1M 64k");
    try (Image image = open(file, secret)) {
      assertThat(TestImages.read(image, 1 << 20, 65536)).containsOnly(3);
    }
    Qemu.check(file, "geheim").clean();
  }

  @Test
  void copiesUpFromABackingImageAreEncrypted() throws Exception {
    Path base = folder.resolve("base.raw");
    byte[] content = new byte[SIZE];
    new java.util.Random(5).nextBytes(content);
    Files.write(base, content);
    Path file =
        create(
            Qcow2CreateOptions.ofSize(SIZE).withLuks(luks()).withBacking(base.toString(), "raw"));
    try (Image image = open(file, secret)) {
      image.write(filled(1000, 1), 70_001);
      image.writeZeroes(200_001, 100_000, true, false);
    }
    Arrays.fill(content, 70_001, 71_001, (byte) 1);
    Arrays.fill(content, 200_001, 300_001, (byte) 0);
    assertThat(readByQemu(file)).isEqualTo(content);
    Qemu.check(file, "geheim").clean();
  }

  @Test
  void noGuestByteIsInTheFile() throws Exception {
    Path file = create();
    String mark = "this must not be seen by anybody";
    try (Image image = open(file, secret)) {
      for (int i = 0; i < 100; i++) {
        image.write(ByteBuffer.wrap(mark.getBytes(StandardCharsets.US_ASCII)), i * 20_001L);
      }
    }
    assertThat(Files.readString(file, StandardCharsets.ISO_8859_1))
        .doesNotContain(mark.substring(0, 16))
        .doesNotContain(mark.substring(16))
        .doesNotContain("geheim");
  }

  @Test
  void withoutItsKeyAnImageIsNotOpenedAndNothingChanges() throws Exception {
    Path file = create();
    byte[] before = Files.readAllBytes(file);
    try (Secret wrong = secret("falsch")) {
      assertThatThrownBy(() -> open(file, wrong))
          .isInstanceOf(EncryptionKeyException.class)
          .hasMessageEndingWith("Invalid password, cannot unlock any keyslot");
    }
    assertThatThrownBy(() -> TestImages.open(file))
        .isInstanceOf(EncryptionKeyException.class)
        .hasMessageEndingWith("Parameter 'encrypt.key-secret' is required for cipher");
    assertThat(Files.readAllBytes(file)).isEqualTo(before);
  }

  @Test
  void withoutItsKeyAnImageCanBeMappedAndChecked() throws Exception {
    Path file = create();
    try (Image image = open(file, secret)) {
      image.write(filled(65536, 1), 0);
    }
    try (Image image = openLocked(file)) {
      assertThat(image.map(0, SIZE))
          .isInstanceOfSatisfying(
              Mapping.Encoded.class,
              encoded -> {
                assertThat(encoded.encoding()).isEqualTo("luks");
                assertThat(encoded.length()).isEqualTo(65536);
              });
      assertThatThrownBy(() -> image.read(ByteBuffer.allocate(1), 0))
          .isInstanceOf(EncryptionKeyException.class);
    }
    try (FileStorage storage = FileStorage.open(file, FileStorage.Options.readOnly())) {
      assertThat(Qcow2.check(storage, Progress.NONE).clean()).isTrue();
      Qcow2Info info = Qcow2.info(storage);
      assertThat(info.encryption()).isEqualTo("luks");
      assertThat(info.luks()).isNotNull();
    }
  }

  @Test
  void aReservedRunIsWrittenThroughTheCipher() throws Exception {
    Path file = create();
    try (Image image = open(file, secret);
        WritableRun run = image.reserve(70_000, 1000, false)) {
      run.storage().write(filled(1000, 9), run.hostOffset());
      run.commit();
    }
    io(file, "read -P 9 70000 1000", "read -P 0 65536 4464", "read -P 0 71000 60072");
  }

  @Test
  void theKeyIsWipedWhenTheImageIsClosed() throws Exception {
    Path file = create();
    Qcow2Image image = (Qcow2Image) open(file, secret);
    EncryptedStorage data = (EncryptedStorage) image.storages().get(1);
    image.close();
    assertThatThrownBy(() -> data.cipher().decrypt(ByteBuffer.allocate(512), 0))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the key was wiped");
  }

  @Test
  void passphrasesAreAddedAndErasedWhileDataStays() throws Exception {
    Path file = create();
    try (Secret other = secret("anders")) {
      try (Image image = open(file, secret)) {
        image.write(filled(1000, 9), 0);
        assertThat(Qcow2.addKey(image, other, -1, 0)).isEqualTo(1);
        assertThat(Qcow2.addKey(image, other, 7, 0)).isEqualTo(7);
        assertThat(Qcow2.eraseKeys(image, secret, false)).containsExactly(0);
        assertThatThrownBy(() -> Qcow2.eraseKeys(image, secret, false))
            .isInstanceOf(EncryptionKeyException.class)
            .hasMessageEndingWith("No keyslots match given (old) password for erase operation");
        assertThatIllegalArgumentException()
            .isThrownBy(() -> Qcow2.eraseKeys(image, other, false))
            .withMessageStartingWith("All the active keyslots match");
        Qcow2.eraseKey(image, 1, false);
      }
      assertThatThrownBy(() -> open(file, secret)).isInstanceOf(EncryptionKeyException.class);
      try (Image image = open(file, other)) {
        assertThat(TestImages.read(image, 0, 1000)).containsOnly(9);
      }
    }
    Qemu.check(file, "anders").clean();
  }

  @Test
  void legacyAesIsReadButNotWritten() throws Exception {
    Path file = folder.resolve("aes.qcow2");
    Qemu.img(
        "create",
        "-f",
        "qcow2",
        "--object",
        "secret,id=key,data=geheim",
        "-o",
        "encrypt.format=aes,encrypt.key-secret=key",
        file,
        SIZE);
    io(file, "write -P 0x11 0 700k", "write -P 0x22 1000001 5000");
    byte[] expected = readByQemu(file);
    try (Image image =
        Qcow2.open(
            FileStorage.open(file, FileStorage.Options.readOnly()),
            Qcow2OpenOptions.defaults().withKey(secret, false),
            TestImages.FILES)) {
      assertThat(TestImages.read(image, 0, SIZE)).isEqualTo(expected);
      assertThat(TestImages.read(image, 1_000_001, 4999)).containsOnly(0x22);
      assertThat(image.map(0, 100)).isInstanceOf(Mapping.Encoded.class);
    }
    assertThatThrownBy(() -> open(file, secret))
        .isInstanceOf(ImageException.class)
        .hasMessageContaining("crypt_method at host offset 0x20: 1 (AES)");
  }

  @Test
  void anEntryThatLeadsIntoTheLuksHeaderIsNotWrittenTo() throws Exception {
    Path file = create();
    try (Image image = open(file, secret)) {
      image.write(filled(65536, 1), 0);
    }
    long l2 = TestImages.word(file, TestImages.word(file, 40)) & (1L << 56) - 1;
    TestImages.setWord(file, l2, 0x30000 | 1L << 63);
    try (FileStorage storage = FileStorage.open(file, FileStorage.Options.readOnly())) {
      assertThat(Encryption.luks(storage, HeaderReader.read(storage)).offset()).isEqualTo(0x30000);
    }
    Image image = open(file, secret);
    assertThatThrownBy(() -> image.write(filled(512, 1), 0))
        .isInstanceOf(CorruptImageException.class)
        .hasMessageContaining("would overwrite live metadata");
    assertThatThrownBy(image::close).isInstanceOf(IOException.class);
  }

  @Test
  void contradictionsAreRefusedBeforeAnythingIsTouched() {
    Qcow2CreateOptions options = Qcow2CreateOptions.ofSize(SIZE).withLuks(luks());
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Qcow2.validate(options.withDataFile("d", true)))
        .withMessage("Encryption and data-file-raw cannot be used at the same time");
    assertThatIllegalArgumentException()
        .isThrownBy(
            () ->
                Qcow2.validate(
                    options.withVersion(2, 16).withPreallocation(Preallocation.METADATA)))
        .withMessageStartingWith("Preallocation of encrypted images is only supported");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Qcow2.validate(options.withLuks(luks().withHash("md4"))))
        .withMessage("Algorithm 'md4' not supported");
  }
}
