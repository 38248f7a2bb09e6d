package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.nbd.NbdClient;
import dev.imago.nbd.NbdClientOptions;
import dev.imago.nbd.NbdException;
import dev.imago.nbd.NbdExportInfo;
import dev.imago.nbd.NbdStorage;
import dev.imago.nbd.NbdTls;
import dev.imago.nbd.NbdUri;
import dev.imago.storage.Storage;
import dev.imago.storage.Storage.ZeroMode;
import dev.imago.storage.StorageIoException;
import dev.imago.testing.Certificates;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.FutureTask;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The client against {@code qemu-nbd} and {@code nbdkit}. */
class ForeignServersTest {
  private static final int SIZE = 8 << 20;
  private static final int THREADS = 4;

  private static final NbdClientOptions OPTIONS = NbdClientOptions.defaults();

  /** Short: the path of a socket has 107 bytes at most. */
  @TempDir private Path folder;

  private Path raw() throws Exception {
    Path image = folder.resolve("d.raw");
    Qemu.img("create", "-q", "-f", "raw", image, SIZE);
    Tool.run(
            "qemu-io",
            "-f",
            "raw",
            "-c",
            "write -P 1 64k 100k",
            "-c",
            "write -P 2 1M 4k",
            "-c",
            "write -P 3 8188k 4k",
            image)
        .ok();
    return image;
  }

  private Path socket() {
    return folder.resolve("s");
  }

  private static byte[] read(Storage storage) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate((int) storage.size());
    storage.read(bytes, 0);
    return bytes.array();
  }

  private static byte[] read(Image image) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate((int) image.size());
    image.read(bytes, 0);
    return bytes.array();
  }

  /** Begins of the runs of data and of zeroes. */
  private static List<Long> runs(Image image) throws IOException {
    List<Long> begins = new ArrayList<>();
    boolean zero = false;
    for (long at = 0; at < image.size(); ) {
      Extent extent = image.resolve(at, image.size() - at);
      boolean nowZero = extent.mapping().getClass().getSimpleName().matches("Zero|Unallocated");
      if (at == 0 || nowZero != zero) {
        begins.add(nowZero ? -at : at);
        zero = nowZero;
      }
      at += extent.length();
    }
    return begins;
  }

  private static void sameAsLocal(Path image, String format, NbdUri uri) throws Exception {
    try (Image local =
            Images.open(
                image, OpenOptions.of(References.anywhere()).format(format).forceShare(true));
        Image remote =
            Images.open(
                NbdStorage.open(uri, false, OPTIONS),
                OpenOptions.of(References.deny()).format("raw"))) {
      assertThat(read(remote)).isEqualTo(read(local));
      assertThat(runs(remote)).isEqualTo(runs(local)).hasSizeGreaterThan(3);
    }
  }

  @Test
  void contentsAndExtentsAreThoseOfTheLocalImage() throws Exception {
    Path raw = raw();
    try (Server server = Server.qemuNbd(socket(), raw, "raw", "-r")) {
      sameAsLocal(raw, "raw", server.uri(""));
    }
    try (Server server = Server.nbdkit(socket(), "-r", "file", raw)) {
      sameAsLocal(raw, "raw", server.uri(""));
    }
    Path base = folder.resolve("b.q");
    Path top = folder.resolve("t.q");
    Qemu.img("convert", "-c", "-O", "qcow2", raw, base);
    Qemu.img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top);
    Qemu.io(top, List.of("write -P 7 2M 64k", "write -z 64k 64k"));
    try (Server server = Server.qemuNbd(socket(), top, "qcow2", "-r", "-x", "a b")) {
      sameAsLocal(top, "qcow2", server.uri("a%20b"));
    }
  }

  /** Random changes by many threads, against the same on an array. */
  private static void work(NbdUri uri, long seed) throws Exception {
    byte[] expected;
    try (Storage storage = NbdStorage.open(uri, true, OPTIONS)) {
      expected = read(storage);
      List<FutureTask<@Nullable Void>> tasks = new ArrayList<>();
      for (int i = 0; i < THREADS; i++) {
        int from = i * (SIZE / THREADS);
        Random random = new Random(seed + i);
        FutureTask<@Nullable Void> task =
            new FutureTask<>(
                () -> {
                  for (int step = 0; step < 60; step++) {
                    change(storage, expected, from, random);
                  }
                  return null;
                });
        tasks.add(task);
        Thread.ofPlatform().daemon().start(task);
      }
      for (FutureTask<@Nullable Void> task : tasks) {
        task.get();
      }
      storage.flush();
      assertThat(Arrays.equals(read(storage), expected)).as("seed %d", seed).isTrue();
      assertThatThrownBy(() -> storage.write(ByteBuffer.allocate(2), SIZE - 1))
          .isInstanceOf(StorageIoException.class)
          .hasMessageContaining("No space left on device");
    }
    try (Storage storage = NbdStorage.open(uri, false, OPTIONS)) {
      assertThat(Arrays.equals(read(storage), expected)).as("seed %d", seed).isTrue();
    }
  }

  private static void change(Storage storage, byte[] expected, int from, Random random)
      throws IOException {
    int length = 1 + random.nextInt(random.nextBoolean() ? 3000 : 300_000);
    int at = from + random.nextInt(SIZE / THREADS - length);
    switch (random.nextInt(5)) {
      case 0, 1 -> {
        byte[] bytes = new byte[length];
        random.nextBytes(bytes);
        ByteBuffer first = ByteBuffer.wrap(bytes, 0, length / 3);
        ByteBuffer second = ByteBuffer.wrap(bytes, length / 3, length - length / 3);
        storage.write(new ByteBuffer[] {first, second}, at);
        System.arraycopy(bytes, 0, expected, at, length);
      }
      case 2 -> {
        boolean sparse = random.nextBoolean();
        storage.writeZeroes(at, length, sparse ? ZeroMode.SPARSE : ZeroMode.ALLOCATED);
        Arrays.fill(expected, at, at + length, (byte) 0);
      }
      case 3 -> {
        if (storage.discard(at, length)) {
          Arrays.fill(expected, at, at + length, (byte) 0);
        } else {
          storage.read(ByteBuffer.wrap(expected, at, length), at);
        }
      }
      default -> {
        ByteBuffer bytes = ByteBuffer.allocate(length);
        storage.read(bytes, at);
        assertThat(Arrays.equals(bytes.array(), 0, length, expected, at, at + length)).isTrue();
        Storage.Run run = storage.run(at, length);
        for (int i = 0; !run.data() && i < run.length(); i++) {
          assertThat(expected[at + i]).isZero();
        }
      }
    }
  }

  @Test
  void whatManyThreadsDoIsThereAfterwards() throws Exception {
    Path raw = raw();
    try (Server server = Server.qemuNbd(socket(), raw, "raw")) {
      work(server.uri(""), 1);
    }
    Path qcow2 = folder.resolve("d.q");
    Qemu.img("create", "-q", "-f", "qcow2", qcow2, SIZE);
    try (Server server = Server.qemuNbd(socket(), qcow2, "qcow2", "--discard=unmap")) {
      work(server.uri(""), 2);
    }
    Qemu.check(qcow2).clean();
  }

  @Test
  void serversThatCanDoLittleAreEnough() throws Exception {
    Path raw = raw();
    for (List<String> filters :
        List.of(
            List.of("--no-sr"),
            List.of("--filter=noextents", "--filter=nozero"),
            List.of("--filter=nozero", "--filter=multi-conn"),
            List.of("--filter=noparallel", "--filter=nocache"))) {
      List<Object> command = new ArrayList<>(filters);
      command.add("file");
      command.add(raw);
      if (filters.contains("--filter=multi-conn")) {
        command.add("multi-conn-mode=disable");
      }
      if (filters.contains("--filter=nozero")) {
        command.add("zeromode=none");
      }
      try (Server server = Server.nbdkit(socket(), command.toArray())) {
        work(server.uri(""), 3);
      }
    }
  }

  @Test
  void blocksOfTheServersSizeAreKept() throws Exception {
    Path raw = raw();
    try (Server server =
        Server.nbdkit(
            socket(),
            "--filter=blocksize-policy",
            "file",
            raw,
            "blocksize-minimum=4096",
            "blocksize-preferred=64k",
            "blocksize-maximum=256k",
            "blocksize-error-policy=error")) {
      work(server.uri(""), 4);
    }
  }

  @Test
  void slowAnswersOutOfOrderFindTheirRequests() throws Exception {
    Path raw = raw();
    try (Server server =
        Server.nbdkit(socket(), "--filter=delay", "file", raw, "rdelay=2ms", "wdelay=1ms")) {
      work(server.uri(""), 5);
    }
  }

  @Test
  void anErrorOfTheServerIsTheRequestsAlone() throws Exception {
    Path raw = raw();
    Path trigger = folder.resolve("fail");
    try (Server server =
            Server.nbdkit(
                socket(),
                "--filter=error",
                "file",
                raw,
                "error-pread=EIO",
                "error-pread-rate=100%",
                "error-pread-file=" + trigger);
        Storage storage = NbdStorage.open(server.uri(""), true, OPTIONS)) {
      byte[] before = read(storage);
      Files.createFile(trigger);
      assertThatThrownBy(() -> read(storage))
          .isInstanceOf(StorageIoException.class)
          .hasMessageStartingWith(
              server.name("").replace(":///", "://") + ": Input/output error (READ of");
      storage.write(ByteBuffer.wrap(new byte[] {5}), 0);
      Files.delete(trigger);
      before[0] = 5;
      assertThat(read(storage)).isEqualTo(before);
    }
  }

  @Test
  void theServerLearnsThatTheClientHasGone() throws Exception {
    Path raw = raw();
    Server server = Server.nbdkit(socket(), "--filter=exitlast", "file", raw);
    NbdStorage.open(server.uri(""), false, OPTIONS).close();
    assertThat(server.ends()).isTrue();
  }

  @Test
  void aServerThatComesBackIsUsedAgain() throws Exception {
    Path raw = raw();
    Server first = Server.nbdkit(socket(), "file", raw);
    NbdUri uri = first.uri("");
    try (NbdClient client = NbdClient.connect(uri, OPTIONS)) {
      client.write(new ByteBuffer[] {ByteBuffer.wrap(new byte[] {1})}, 0, false);
      client.flush();
      first.kill();
      try (Server second = Server.nbdkit(socket(), "file", raw)) {
        ByteBuffer bytes = ByteBuffer.allocate(1);
        client.read(bytes, 0);
        assertThat(bytes.get(0)).isEqualTo((byte) 1);
        client.write(new ByteBuffer[] {ByteBuffer.wrap(new byte[] {2})}, 0, false);
        second.kill();
        try (Server third = Server.nbdkit(socket(), "file", raw)) {
          client.read(bytes.clear(), 0);
          assertThatThrownBy(client::flush)
              .isInstanceOf(NbdException.class)
              .hasMessageContaining("they may be lost");
        }
      }
    }
  }

  private static NbdUri secure(NbdUri uri, @Nullable String hostname) {
    return new NbdUri(uri.address(), uri.export(), new NbdUri.Tls(null, hostname, true));
  }

  @Test
  void talksTlsWithCertificatesOnBothSides() throws Exception {
    Path raw = raw();
    Path certificates = Certificates.make(folder.resolve("c"));
    NbdClientOptions trusting = OPTIONS.withTls(NbdTls.client(certificates));
    String credentials = "tls-creds-x509,id=t,endpoint=server,dir=" + certificates;
    try (Server server =
        Server.qemuNbd(socket(), raw, "raw", "--object", credentials, "--tls-creds", "t")) {
      talksTls(server, trusting);
    }
    try (Server server =
        Server.nbdkit(
            socket(),
            "--tls=require",
            "--tls-certificates=" + certificates,
            "--tls-verify-peer",
            "file",
            raw)) {
      talksTls(server, trusting);
    }
  }

  private static void talksTls(Server server, NbdClientOptions trusting) throws Exception {
    NbdUri secure = secure(server.uri(""), "localhost");
    try (Storage storage = NbdStorage.open(secure, true, trusting)) {
      byte[] bytes = read(storage);
      new Random(6).nextBytes(bytes);
      storage.write(ByteBuffer.wrap(bytes), 0);
      storage.flush();
      assertThat(Arrays.equals(read(storage), bytes)).isTrue();
    }
    assertThatThrownBy(() -> NbdClient.connect(server.uri(""), OPTIONS))
        .isInstanceOf(NbdException.class)
        .hasMessageContaining("requires TLS");
    assertThatThrownBy(
            () -> NbdClient.connect(secure(server.uri(""), "elsewhere.example"), trusting))
        .isInstanceOf(NbdException.class)
        .hasMessageContaining("elsewhere.example");
    assertThatThrownBy(() -> NbdClient.connect(secure, OPTIONS.withTls(NbdTls.client())))
        .isInstanceOf(NbdException.class);
  }

  @Test
  void aDecoyForThoseWithoutTlsIsNoTarget() throws Exception {
    Path raw = raw();
    Path certificates = Certificates.make(folder.resolve("c"));
    try (Server server =
        Server.nbdkit(
            socket(),
            "--tls=on",
            "--tls-certificates=" + certificates,
            "--filter=tls-fallback",
            "file",
            raw)) {
      try (NbdClient plain = NbdClient.connect(server.uri(""), OPTIONS)) {
        assertThat(plain.size()).isEqualTo(512);
        assertThat(plain.readOnly()).isTrue();
      }
      NbdClientOptions trusting = OPTIONS.withTls(NbdTls.client(certificates));
      try (NbdClient secure = NbdClient.connect(secure(server.uri(""), "localhost"), trusting)) {
        assertThat(secure.size()).isEqualTo(SIZE);
      }
    }
  }

  @Test
  void listsWhatThereIs() throws Exception {
    Path raw = raw();
    try (Server server = Server.qemuNbd(socket(), raw, "raw", "-x", "disk", "-D", "a text", "-A")) {
      List<NbdExportInfo> exports = NbdClient.list(server.uri(""), OPTIONS);
      assertThat(exports).hasSize(1);
      NbdExportInfo export = exports.getFirst();
      assertThat(export.name()).isEqualTo("disk");
      assertThat(export.description()).isEqualTo("a text");
      assertThat(export.size()).isEqualTo(SIZE);
      assertThat(export.maximum()).isEqualTo(32 << 20);
      assertThat(export.contexts()).containsExactly("base:allocation", "qemu:allocation-depth");
    }
  }

  /** One more connection than the server takes is never answered. */
  @Test
  void aServerForOneClientServesManyThreads() throws Exception {
    Path raw = raw();
    try (Server server = Server.qemuNbd(socket(), raw, "raw", "-e", "2")) {
      work(server.uri(""), 7);
    }
  }

  @Test
  void aSilentPortIsGivenUp() {
    NbdUri uri = NbdUri.parse("nbd+unix://?socket=" + folder.resolve("nobody"));
    assertThatThrownBy(() -> NbdClient.connect(uri, OPTIONS.withTimeout(Duration.ofSeconds(1))))
        .hasMessageEndingWith("No such file or directory");
  }
}
