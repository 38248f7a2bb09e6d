package dev.imago.nbd;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.imago.testing.Certificates;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import javax.net.ssl.SSLException;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TransportTest {
  /** More than any buffer on the way holds. */
  private static final int LONG = 5_000_001;

  @TempDir private Path folder;

  private record Pair(PlainTransport client, PlainTransport server) {}

  private static Pair pair() throws IOException {
    try (var listening = ServerSocketChannel.open()) {
      listening.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
      SocketChannel client = SocketChannel.open(listening.getLocalAddress());
      client.configureBlocking(false);
      return new Pair(new PlainTransport(client), new PlainTransport(listening.accept()));
    }
  }

  private record Secured(Transport client, Transport server) {}

  private static Secured secured(NbdTls client, NbdTls server, @Nullable String host)
      throws Exception {
    Pair pair = pair();
    var accepted = start(() -> TlsTransport.over(pair.server(), server.serverEngine()));
    try {
      Transport connected = TlsTransport.over(pair.client(), client.clientEngine(host));
      return new Secured(connected, accepted.get());
    } catch (IOException e) {
      pair.client().close();
      assertThrows(ExecutionException.class, accepted::get);
      throw e;
    }
  }

  private static <T> FutureTask<T> start(Callable<T> work) {
    FutureTask<T> task = new FutureTask<>(work);
    Thread.ofPlatform().daemon().start(task);
    return task;
  }

  @Test
  void bytesArriveInOrderBothWaysAtOnce() throws Exception {
    Pair pair = pair();
    bothWays(pair.client(), pair.server());
  }

  @Test
  void bytesArriveUnderTls() throws Exception {
    Path certificates = Certificates.make(folder);
    Secured pair =
        secured(NbdTls.client(certificates), NbdTls.server(certificates, false), "localhost");
    bothWays(pair.client(), pair.server());
  }

  private static void bothWays(Transport one, Transport other) throws Exception {
    byte[] there = random(1);
    byte[] back = random(2);
    var sending = start(() -> send(one, there));
    var sendingBack = start(() -> send(other, back));
    var receiving = start(() -> receive(one));
    assertArrayEquals(there, receive(other));
    assertArrayEquals(back, receiving.get());
    sending.get();
    sendingBack.get();
    one.close();
    other.close();
  }

  private static byte[] random(int seed) {
    byte[] bytes = new byte[LONG];
    new Random(seed).nextBytes(bytes);
    return bytes;
  }

  private static @Nullable Void send(Transport to, byte[] bytes) throws IOException {
    ByteBuffer all = ByteBuffer.wrap(bytes);
    for (int length = 0; all.hasRemaining(); length = length * 3 + 1) {
      int step = Math.min(length, all.remaining());
      ByteBuffer part = all.slice(all.position(), step);
      to.write(
          ByteBuffer.allocate(0), part.slice(0, step / 2), part.slice(step / 2, step - step / 2));
      all.position(all.position() + step);
    }
    to.end();
    return null;
  }

  private static byte[] receive(Transport from) throws IOException {
    ByteBuffer all = ByteBuffer.allocate(LONG + 1);
    for (int room = 1; ; room = room * 2 % 99_991) {
      all.limit(Math.min(all.position() + room, all.capacity()));
      int before = all.position();
      int n = from.read(all);
      if (n < 0) {
        byte[] bytes = new byte[all.flip().remaining()];
        all.get(bytes);
        return bytes;
      }
      assertEquals(n, all.position() - before);
      assertTrue(n > 0);
    }
  }

  @Test
  void aClientWithACertificateIsLetIn() throws Exception {
    Path certificates = Certificates.make(folder);
    Secured pair =
        secured(NbdTls.client(certificates), NbdTls.server(certificates, true), "127.0.0.1");
    bothWays(pair.client(), pair.server());
  }

  @Test
  void aServerOfAnotherNameIsRefused() throws Exception {
    Path certificates = Certificates.make(folder);
    NbdTls client = NbdTls.client(certificates);
    NbdTls server = NbdTls.server(certificates, false);

    SSLException e =
        assertThrows(SSLException.class, () -> secured(client, server, "elsewhere.example"));
    assertTrue(e.getMessage().contains("elsewhere.example"), e.getMessage());
  }

  @Test
  void aServerOfAnUnknownAuthorityIsRefusedUnlessNobodyChecks() throws Exception {
    Path ours = Certificates.make(folder.resolve("ours"));
    NbdTls server = NbdTls.server(Certificates.make(folder.resolve("theirs")), false);

    assertThrows(SSLException.class, () -> secured(NbdTls.client(ours), server, "localhost"));
    assertThrows(SSLException.class, () -> secured(NbdTls.client(), server, "localhost"));
    Secured pair = secured(NbdTls.unverifiedClient(null), server, "elsewhere.example");
    bothWays(pair.client(), pair.server());
  }

  @Test
  void aClientWithoutACertificateIsRefusedWhereOneIsWanted() throws Exception {
    Path certificates = Certificates.make(folder);
    NbdTls server = NbdTls.server(certificates, true);
    NbdTls client = NbdTls.unverifiedClient(null);

    // With TLS 1.3 the client learns of it with the first bytes that it reads.
    Pair pair = pair();
    var accepted = start(() -> TlsTransport.over(pair.server(), server.serverEngine()));
    assertThrows(
        SSLException.class,
        () ->
            TlsTransport.over(pair.client(), client.clientEngine(null))
                .read(ByteBuffer.allocate(1)));
    assertThrows(ExecutionException.class, accepted::get);
  }

  @Test
  void anInterruptDisturbsNothingInAClient() throws Exception {
    Pair pair = pair();
    Thread.currentThread().interrupt();
    pair.client().write(ByteBuffer.wrap(new byte[] {1}));
    var answer = start(() -> answer(pair.server()));
    ByteBuffer got = ByteBuffer.allocate(1);
    assertEquals(1, pair.client().read(got));

    assertTrue(Thread.interrupted());
    assertEquals(2, got.get(0));
    answer.get();
  }

  private static @Nullable Void answer(Transport server) throws IOException {
    ByteBuffer got = ByteBuffer.allocate(1);
    assertEquals(1, server.read(got));
    server.write(ByteBuffer.wrap(new byte[] {(byte) (got.get(0) + 1)}));
    return null;
  }

  @Test
  void aDeadlineEndsWaiting() throws Exception {
    Pair pair = pair();
    pair.client().deadline(System.nanoTime());
    assertThrows(SocketTimeoutException.class, () -> pair.client().read(ByteBuffer.allocate(1)));
  }

  @Test
  void closingEndsAReader() throws Exception {
    Pair pair = pair();
    var reading = start(() -> pair.client().read(ByteBuffer.allocate(1)));
    pair.server().write(ByteBuffer.wrap(new byte[1]));
    reading.get();
    var readingOn = start(() -> pair.client().read(ByteBuffer.allocate(1)));
    pair.client().close();
    assertThrows(ExecutionException.class, readingOn::get);
  }
}
