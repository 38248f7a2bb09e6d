package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * {@code imago serve --partition} of tables that sfdisk has made: the same bytes as nbdkit's filter
 * {@code partition} serves.
 */
class PartitionTest {
  private static final int SIZE = 16 << 20;
  private static final String MBR =
      """
      label: dos
      start=2048, size=4096, type=83
      start=8192, size=20480, type=5
      start=10240, size=2048, type=83
      start=16384, size=1000, type=82
      """;
  private static final String GPT =
      """
      label: gpt
      size=2MiB, name=one
      size=3MiB, name=two
      """;

  @TempDir private Path folder;
  private Path disk;

  /** Every eighth byte tells where it is. */
  @BeforeEach
  void makeADisk() throws IOException {
    disk = folder.resolve("disk.raw");
    ByteBuffer bytes = ByteBuffer.allocate(SIZE);
    while (bytes.hasRemaining()) {
      bytes.putLong(bytes.position() * 0x9e3779b97f4a7c15L);
    }
    Files.write(disk, bytes.array());
  }

  private void partition(String script, Object... options) throws Exception {
    Path input = Files.writeString(folder.resolve("script"), script);
    String line = "sfdisk -q %s '%s' < '%s'";
    Tool.run("sh", "-c", line.formatted(join(options), disk, input)).ok();
  }

  private static String join(Object... words) {
    StringBuilder all = new StringBuilder();
    for (Object word : words) {
      all.append(word).append(' ');
    }
    return all.toString();
  }

  private Path ours(int number) throws Exception {
    Path socket = folder.resolve("ours" + number);
    Path copy = folder.resolve("ours" + number + ".raw");
    try (OurServer server = OurServer.start("-r", "-f", "raw", "-k", socket, "-P", number, disk)) {
      assertThat(server.ready()).isTrue();
      Tool.run("nbdcopy", OurServer.uri(socket, ""), copy).ok();
      assertThat(server.status()).isZero();
    }
    return copy;
  }

  private Path nbdkits(Object... options) throws Exception {
    Path copy = folder.resolve("nbdkit.raw");
    try (Server server = Server.nbdkit(folder.resolve("nbdkit"), options)) {
      Tool.run("nbdcopy", server.name(""), copy).ok();
    }
    return copy;
  }

  private void assertSameAsNbdkit(int number, long size) throws Exception {
    Path ours = ours(number);
    assertThat(ours).hasSize(size);
    assertThat(ours)
        .hasSameBinaryContentAs(
            nbdkits("-r", "--filter=partition", "file", disk, "partition=" + number));
  }

  private String failure(int number) throws Exception {
    try (OurServer server =
        OurServer.start("-r", "-f", "raw", "-k", folder.resolve("s"), "-P", number, disk)) {
      assertThat(server.ready()).isFalse();
      assertThat(server.status()).isEqualTo(1);
      return server.words();
    }
  }

  private interface Change {
    void at(ByteBuffer disk);
  }

  private void change(Change change) throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(disk)).order(ByteOrder.LITTLE_ENDIAN);
    change.at(bytes);
    Files.write(disk, bytes.array());
  }

  @Test
  void primaryAndLogicalPartitionsOfAMasterBootRecord() throws Exception {
    partition(MBR);
    assertSameAsNbdkit(1, 4096 * 512);
    assertSameAsNbdkit(5, 2048 * 512);
    assertSameAsNbdkit(6, 1000 * 512);
    assertThat(failure(2)).contains("Could not find partition 2"); // the extended one
    assertThat(failure(3)).contains("Could not find partition 3");
    assertThat(failure(7)).contains("Could not find partition 7");
  }

  @Test
  void guidPartitionTableWithShortSectors() throws Exception {
    partition(GPT);
    assertSameAsNbdkit(1, 2 << 20);
    assertSameAsNbdkit(2, 3 << 20);
    assertThat(failure(3)).contains("Could not find partition 3");
    assertThat(failure(128)).contains("Could not find partition 128");
  }

  @Test
  void guidPartitionTableWithLongSectors() throws Exception {
    // sfdisk 2.38 knows short ones only; fdisk is asked as a person would be.
    Path keys = folder.resolve("keys");
    Files.writeString(keys, "g\nn\n1\n\n+2M\nn\n2\n\n+3M\nw\n");
    Tool.run("sh", "-c", "fdisk -b 4096 '%s' < '%s'".formatted(disk, keys)).ok();
    // nbdkit 1.32, too, knows short sectors only.
    assertThat(ours(1))
        .hasSize(2 << 20)
        .hasSameBinaryContentAs(
            nbdkits("-r", "--filter=offset", "file", disk, "offset=1M", "range=2M"));
    assertThat(ours(2))
        .hasSize(3 << 20)
        .hasSameBinaryContentAs(
            nbdkits("-r", "--filter=offset", "file", disk, "offset=3M", "range=3M"));
    assertThat(failure(3)).contains("Could not find partition 3");
  }

  @Test
  void damagedGuidPartitionTableIsSaidWithItsPlace() throws Exception {
    partition(GPT);
    byte[] good = Files.readAllBytes(disk);

    change(bytes -> bytes.put(512 + 40, (byte) ~bytes.get(512 + 40)));
    assertThat(failure(1)).contains("disk.raw: GPT checksum of the header at offset 528: 0x");

    Files.write(disk, good);
    change(bytes -> bytes.put(1024 + 32, (byte) ~bytes.get(1024 + 32)));
    assertThat(failure(1)).contains("disk.raw: GPT checksum of the entries at offset 600: 0x");

    Files.write(disk, good);
    change(bytes -> bytes.putInt(512 + 12, 513));
    assertThat(failure(1)).contains("GPT header size at offset 524: 513; allowed is 92 to 512.");

    Files.write(disk, good);
    change(bytes -> bytes.putLong(512, 0));
    assertThat(failure(1)).contains("announces a GPT, and there is none at offset 512 or 4096");
  }

  @Test
  void leftOverOfAGuidPartitionTableDoesNotHideTheMasterBootRecord() throws Exception {
    partition(GPT);
    byte[] gpt = new byte[1024];
    try (RandomAccessFile file = new RandomAccessFile(disk.toFile(), "r")) {
      file.readFully(gpt);
    }
    partition(MBR, "--wipe=always");
    change(bytes -> bytes.put(512, gpt, 512, 512));
    assertThat(ours(1)).hasSize(4096 * 512);
  }

  @Test
  void partitionThatTheDiskIsTooShortForIsRefused() throws Exception {
    partition(MBR);
    try (RandomAccessFile file = new RandomAccessFile(disk.toFile(), "rw")) {
      file.setLength(17000 * 512);
    }
    assertThat(failure(6)).contains("Partition 6 ends behind the disk's end (8704000)");
  }
}
