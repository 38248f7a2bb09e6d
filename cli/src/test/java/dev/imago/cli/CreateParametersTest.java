package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.imago.CreateOptions;
import dev.imago.image.LuksOptions;
import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class CreateParametersTest {
  private static final Path IMAGE = Path.of("x");

  private final PrintStream stream =
      new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
  private final CreateParameters qcow2 =
      new CreateParameters(new Terminal("imago", stream, stream), "qcow2");

  @Test
  void everyValueReachesTheLibrary() throws Exception {
    qcow2.set(
        "size=1G,cluster_size=4k,compat=1.1,refcount_bits=8,lazy_refcounts=on,compression_type=zstd"
            + ",data_file=d,data_file_raw=on,preallocation=falloc");

    CreateOptions made = qcow2.toLibrary(IMAGE);

    assertEquals(1L << 30, made.size());
    assertEquals(4096, made.clusterSize());
    assertEquals(3, made.version());
    assertEquals(8, made.refcountBits());
    assertTrue(made.lazyRefcounts());
    assertEquals("zstd", made.compressionType());
    assertEquals("d", made.dataFile());
    assertTrue(made.dataFileRaw());
    assertEquals(CreateOptions.Preallocation.FALLOC, made.preallocation());
  }

  @Test
  void backingFilesReachTheLibrary() throws Exception {
    qcow2.set("size=1M,compat=v2");
    qcow2.setBacking("b,c", "raw");

    CreateOptions made = qcow2.toLibrary(IMAGE);

    assertEquals("b,c", made.backingFile());
    assertEquals("raw", made.backingFormat());
    assertEquals(2, made.version());
    assertFalse(made.lazyRefcounts());
    assertTrue(qcow2.describe("x").contains(" backing_file=b,,c backing_fmt=raw "));
  }

  @Test
  void whatOnlyQemuCanDoIsRefusedWhereItWouldDoSomething() throws Exception {
    qcow2.set("nocow=on,extent_size_hint=1M");

    qcow2.requireNoAttribute("ext4");
    for (String fileSystem : new String[] {"btrfs", "xfs"}) {
      assertTrue(
          assertThrows(Failure.class, () -> qcow2.requireNoAttribute(fileSystem))
              .getMessage()
              .endsWith("is not supported here on " + fileSystem));
    }
    qcow2.set("nocow=off,extent_size_hint=0");
    qcow2.requireNoAttribute("btrfs");
    qcow2.requireNoAttribute("xfs");
  }

  @Test
  void encryptionThatCannotBeIsRefused() throws Exception {
    String[][] wrong = {
      {"encrypt.format=luks", "Parameter 'encrypt.key-secret' is required for cipher"},
      {"encryption=on", "Parameter 'encrypt.key-secret' is required for cipher"},
      {"encrypt.key-secret=s", "Parameter 'encrypt.format' is missing"},
      {"encrypt.format=rot13", "Parameter 'format' does not accept value 'rot13'"},
      {"encrypt.format=luks,encrypt.key-secret=s", "No secret with id 's'"}
    };
    for (String[] each : wrong) {
      CreateParameters parameters = new CreateParameters(terminal(), "qcow2");
      parameters.set("size=1M," + each[0]);
      assertEquals(
          each[1], assertThrows(Failure.class, () -> parameters.toLibrary(IMAGE)).getMessage());
    }
  }

  @Test
  void encryptionIsHandedToTheLibrary() throws Exception {
    Terminal terminal = terminal();
    terminal.secrets().add("secret,id=s,data=geheim");
    CreateParameters parameters = new CreateParameters(terminal, "qcow2");
    parameters.set(
        "size=1M,encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-mode=cbc,"
            + "encrypt.ivgen-alg=essiv,encrypt.iter-time=5");
    LuksOptions luks = parameters.toLibrary(IMAGE).luks();
    assertNotNull(luks);
    assertEquals("cbc", luks.mode());
    assertEquals("sha256", luks.ivHash());
    assertEquals(5, luks.iterationMillis());
    assertTrue(parameters.describe("x").contains(" encrypt.format=luks encrypt.key-secret=s "));
    assertFalse(parameters.describe("x").contains("geheim"));
  }

  private static Terminal terminal() {
    PrintStream nowhere = new PrintStream(OutputStream.nullOutputStream());
    return new Terminal("imago", nowhere, nowhere);
  }

  @Test
  void extendedL2AllowsPreallocationWithABackingFile() throws Exception {
    qcow2.set("size=1M,extended_l2=on,preallocation=metadata,backing_file=b,backing_fmt=raw");

    CreateOptions made = qcow2.toLibrary(IMAGE);

    assertTrue(made.extendedL2());
    assertEquals("b", made.backingFile());
  }

  @Test
  void extendedL2NeedsVersion3ThenLargeClusters() throws Exception {
    qcow2.set("size=1M,extended_l2=on,cluster_size=8k,lazy_refcounts=on");
    assertEquals(
        "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes",
        assertThrows(Failure.class, () -> qcow2.toLibrary(IMAGE)).getMessage());

    qcow2.set("compat=0.10");
    assertEquals(
        "Extended L2 entries are only supported with compatibility level 1.1 and above"
            + " (use version=v3 or greater)",
        assertThrows(Failure.class, () -> qcow2.toLibrary(IMAGE)).getMessage());
  }

  /** QEMU would make it, and look for it, in the current folder. */
  @Test
  void aDataFileThatQemuWouldLookForElsewhereIsRefused() throws Exception {
    qcow2.set("size=1M,data_file=d");

    assertTrue(
        assertThrows(Failure.class, () -> qcow2.toLibrary(Path.of("folder/x")))
            .getMessage()
            .startsWith("The data file's name must be absolute"));
    assertEquals("d", qcow2.toLibrary(IMAGE).dataFile());
    qcow2.set("data_file=/d");
    assertEquals("/d", qcow2.toLibrary(Path.of("folder/x")).dataFile());
  }
}
