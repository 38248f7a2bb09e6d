package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.nbd.NbdClient;
import dev.imago.nbd.NbdClientOptions;
import dev.imago.nbd.NbdUri;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.Qemu;
import dev.imago.testing.Stamp;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * {@code kill -9} of a server with three writers and a flusher, again and again: the image is
 * whole, and every write that was flushed, or written with FUA, is there.
 */
class KilledServerTest {
  private static final int KILLS = Boolean.getBoolean("imago.long") ? 50 : 3;
  private static final int WRITERS = 3;
  private static final int SIZE = 12 << 20;
  private static final int SLOT = 64 << 10;

  @TempDir private Path folder;

  @Test
  void nothingFlushedIsLost() throws Exception {
    Path file = folder.resolve("disk.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", file, SIZE);
    ByteOracle oracle = new ByteOracle(SIZE);
    for (int kill = 0; kill < KILLS; kill++) {
      Path socket = folder.resolve("socket" + kill);
      AtomicInteger done = new AtomicInteger();
      try (OurServer server = OurServer.start("-f", "qcow2", "-t", "-e", "8", "-k", socket, file)) {
        assertThat(server.ready()).isTrue();
        List<Thread> clients = clients(socket, oracle, kill, done);
        int enough = 20 + new SplittableRandom(kill).nextInt(500);
        while (done.get() < enough && clients.stream().allMatch(Thread::isAlive)) {
          Thread.onSpinWait();
        }
        server.kill();
        for (Thread client : clients) {
          client.join();
        }
        assertThat(done.get()).as("requests answered before the kill").isGreaterThanOrEqualTo(20);
      }
      Qemu.check(file).withoutErrors();
      OpenOptions options = OpenOptions.of(References.deny()).format("qcow2");
      try (Image image = Images.open(file, options)) {
        oracle = oracle.verifyCrashed(image);
      }
    }
  }

  private static List<Thread> clients(
      Path socket, ByteOracle oracle, int seed, AtomicInteger done) {
    List<Thread> clients = new ArrayList<>();
    for (int id = 0; id <= WRITERS; id++) {
      int writer = id;
      clients.add(
          Thread.ofPlatform()
              .start(
                  () -> {
                    try (NbdClient client = connect(socket)) {
                      while (true) {
                        if (writer == WRITERS) {
                          flush(client, oracle);
                        } else {
                          write(client, oracle, seed, writer, done);
                        }
                      }
                    } catch (IOException e) {
                      assertThat(e).isNotNull(); // it was killed
                    }
                  }));
    }
    return clients;
  }

  private static NbdClient connect(Path socket) throws IOException {
    return NbdClient.connect(
        NbdUri.parse(OurServer.uri(socket, "")),
        NbdClientOptions.defaults().withConnections(1).withRetry(Duration.ZERO));
  }

  private static void flush(NbdClient client, ByteOracle oracle) throws IOException {
    long begun = oracle.flushing();
    client.flush();
    oracle.flushed(begun);
  }

  /** Each writer has every third slot for itself. */
  private static void write(
      NbdClient client, ByteOracle oracle, int seed, int writer, AtomicInteger done)
      throws IOException {
    int number = done.get();
    RandomGenerator random = new SplittableRandom(seed * 1000003L + number * 31L + writer);
    long slot = (random.nextInt(SIZE / SLOT / WRITERS) * (long) WRITERS + writer) * SLOT;
    int from = random.nextInt(SLOT / 512) * 512;
    int length = 512 * (1 + random.nextInt((SLOT - from) / 512));
    long offset = slot + from;
    boolean fua = random.nextInt(4) == 0;
    if (random.nextInt(5) == 0) {
      ByteOracle.Change change = oracle.zeroing(offset, length);
      client.writeZeroes(offset, length, false, false, fua);
      done(change, fua);
    } else {
      byte[] bytes = Stamp.bytes(seed, offset, length, number);
      ByteOracle.Change change = oracle.writing(offset, bytes);
      client.write(new ByteBuffer[] {ByteBuffer.wrap(bytes)}, offset, fua);
      done(change, fua);
    }
    done.incrementAndGet();
  }

  private static void done(ByteOracle.Change change, boolean fua) {
    if (fua) {
      change.doneDurably();
    } else {
      change.done();
    }
  }
}
