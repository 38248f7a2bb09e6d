package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.util.AbstractList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class OutboxTest {
  @TempDir Path folder;
  private SocketChannel near;
  private SocketChannel far;
  private Outbox outbox;

  @BeforeEach
  void connect() throws IOException {
    UnixDomainSocketAddress address = UnixDomainSocketAddress.of(folder.resolve("s"));
    try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      server.bind(address);
      near = SocketChannel.open(address);
      far = server.accept();
    }
    outbox = new Outbox(new PlainTransport(near));
  }

  @AfterEach
  void close() throws IOException {
    near.close();
    far.close();
  }

  private static ByteBuffer bytes(int length, int value) {
    ByteBuffer bytes = ByteBuffer.allocateDirect(length);
    while (bytes.hasRemaining()) {
      bytes.put((byte) value);
    }
    return bytes.flip();
  }

  @Test
  void parcelsOfManyThreadsAreNeverMixed() throws Exception {
    int each = 200;
    AtomicInteger sent = new AtomicInteger();
    for (int thread = 1; thread <= 4; thread++) {
      int value = thread;
      Thread.ofPlatform()
          .start(
              () -> {
                for (int i = 0; i < each; i++) {
                  List<ByteBuffer> parts = List.of(bytes(3, value), bytes(1000, value));
                  outbox.send(new Outbox.Parcel(parts, sent::incrementAndGet));
                }
              });
    }
    ByteBuffer parcel = ByteBuffer.allocate(1003);
    for (int i = 0; i < 4 * each; i++) {
      parcel.clear();
      while (parcel.hasRemaining()) {
        assertThat(far.read(parcel)).isPositive();
      }
      byte first = parcel.get(0);
      for (byte b : parcel.array()) {
        assertThat(b).isEqualTo(first);
      }
    }
    outbox.sendAndWait(bytes(1, 0));
    assertThat(sent).hasValue(4 * each);
  }

  @Test
  void othersLeaveTheirParcelsToTheThreadThatWaitsForTheReader() throws Exception {
    Thread stuck = Thread.ofPlatform().start(() -> outbox.send(parcel(8 << 20)));
    // Its first bytes are here: it is sending.
    ByteBuffer first = ByteBuffer.allocate(1);
    assertThat(far.read(first)).isEqualTo(1);

    outbox.send(parcel(10)); // returns although nobody reads

    assertThat(stuck.isAlive()).isTrue();
    ByteBuffer rest = ByteBuffer.allocate((8 << 20) - 1 + 10);
    while (rest.hasRemaining()) {
      assertThat(far.read(rest)).isPositive();
    }
    stuck.join();
  }

  private static Outbox.Parcel parcel(int length) {
    return new Outbox.Parcel(List.of(bytes(length, 1)), () -> {});
  }

  @Test
  void afterAFailureEveryParcelIsThrownAway() throws Exception {
    AtomicInteger done = new AtomicInteger();
    far.close();
    outbox.send(new Outbox.Parcel(List.of(bytes(8 << 20, 1)), done::incrementAndGet));
    outbox.send(new Outbox.Parcel(List.of(bytes(1, 1)), done::incrementAndGet));

    assertThat(done).hasValue(2);
    assertThat(outbox.broken()).isNotNull();
    assertThat(near.isOpen()).isFalse();
    assertThatThrownBy(() -> outbox.sendAndWait(bytes(1, 1)))
        .isInstanceOf(IOException.class)
        .hasMessage("the connection is broken");
  }

  @Test
  void errorWhileWritingLeavesNobodyWaiting() {
    AtomicInteger done = new AtomicInteger();
    List<ByteBuffer> tooMuch =
        new AbstractList<>() {
          @Override
          public ByteBuffer get(int index) {
            throw new OutOfMemoryError("Cannot reserve direct buffer memory");
          }

          @Override
          public int size() {
            return 1;
          }
        };

    outbox.send(new Outbox.Parcel(tooMuch, done::incrementAndGet));

    assertThat(done).hasValue(1);
    assertThat(near.isOpen()).isFalse();
    assertThatThrownBy(() -> outbox.sendAndWait(bytes(1, 1))).isInstanceOf(IOException.class);
  }
}
