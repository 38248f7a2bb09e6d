package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.References;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.storage.Storage.ZeroMode;
import dev.imago.testing.Certificates;
import java.io.IOException;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
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

/** Our client and our server. */
class OwnServerTest {
  private static final int SIZE = 4 << 20;
  private static final int THREADS = 4;

  @TempDir private Path folder;

  private NbdUri uri(boolean tls) {
    return new NbdUri(
        new NbdAddress.Unix(folder.resolve("s").toString()),
        "disk",
        tls ? new NbdUri.Tls(null, "localhost", true) : null);
  }

  private NbdServer serve(Image image, @Nullable NbdTls tls) throws IOException {
    return NbdServer.listen(
        UnixDomainSocketAddress.of(folder.resolve("s")),
        // Both ends of a TLS handshake on a busy machine may need more than the usual time.
        NbdServerOptions.of(NbdExport.of("disk", image))
            .tls(tls)
            .handshakeTime(Duration.ofMinutes(1)));
  }

  private static Image qcow2(MemoryStorage storage) throws IOException {
    Images.create(storage, CreateOptions.of("qcow2", SIZE));
    return Images.open(storage, OpenOptions.of(References.deny()).format("qcow2").writable(true));
  }

  private static void work(Storage storage, byte[] expected, long seed) throws Exception {
    List<FutureTask<@Nullable Void>> tasks = new ArrayList<>();
    for (int i = 0; i < THREADS; i++) {
      int from = i * (SIZE / THREADS);
      Random random = new Random(seed + i);
      FutureTask<@Nullable Void> task =
          new FutureTask<>(
              () -> {
                for (int step = 0; step < 100; step++) {
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
  }

  private static void change(Storage storage, byte[] expected, int from, Random random)
      throws IOException {
    int length = 1 + random.nextInt(200_000);
    int at = from + random.nextInt(SIZE / THREADS - length);
    switch (random.nextInt(3)) {
      case 0 -> {
        byte[] bytes = new byte[length];
        random.nextBytes(bytes);
        storage.write(ByteBuffer.wrap(bytes), at);
        System.arraycopy(bytes, 0, expected, at, length);
      }
      case 1 -> {
        storage.writeZeroes(at, length, ZeroMode.SPARSE);
        Arrays.fill(expected, at, at + length, (byte) 0);
      }
      default -> {
        ByteBuffer bytes = ByteBuffer.allocate(length);
        storage.read(bytes, at);
        assertThat(Arrays.equals(bytes.array(), 0, length, expected, at, at + length)).isTrue();
      }
    }
  }

  private static byte[] read(Storage storage) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(SIZE);
    storage.read(bytes, 0);
    return bytes.array();
  }

  @Test
  void understandEachOtherInClearAndUnderTls() throws Exception {
    Path certificates = Certificates.make(folder.resolve("c"));
    for (boolean secure : new boolean[] {false, true}) {
      NbdTls server = secure ? NbdTls.server(certificates, true) : null;
      NbdClientOptions options =
          secure
              ? NbdClientOptions.defaults().withTls(NbdTls.client(certificates))
              : NbdClientOptions.defaults();
      MemoryStorage below = new MemoryStorage("disk.q");
      byte[] expected = new byte[SIZE];
      try (Image image = qcow2(below);
          NbdServer _ = serve(image, server);
          Storage storage = NbdStorage.open(uri(secure), true, options)) {
        work(storage, expected, 11);
        storage.flush();
        assertThat(Arrays.equals(read(storage), expected)).isTrue();
        requireTrueRuns(storage, expected);
      }
      assertThat(Images.check(below, "qcow2", Progress.NONE).clean()).isTrue();
    }
  }

  private static void requireTrueRuns(Storage storage, byte[] expected) throws IOException {
    for (long at = 0; at < SIZE; ) {
      Storage.Run run = storage.run(at, SIZE - at);
      for (long i = at; !run.data() && i < at + run.length(); i++) {
        assertThat(expected[(int) i]).isZero();
      }
      at += run.length();
    }
  }

  @Test
  void aServerThatEndsInAnOrderlyWayAndComesBackCostsNothing() throws Exception {
    byte[] expected = new byte[SIZE];
    try (Image image = qcow2(new MemoryStorage("disk.q"))) {
      NbdServer first = serve(image, null);
      try (Storage storage = NbdStorage.open(uri(false), true, NbdClientOptions.defaults())) {
        work(storage, expected, 12);
        storage.flush();
        first.close();
        try (NbdServer _ = serve(image, null)) {
          assertThat(Arrays.equals(read(storage), expected)).isTrue();
          work(storage, expected, 13);
          storage.flush();
          assertThat(Arrays.equals(read(storage), expected)).isTrue();
        }
      }
    }
  }
}
