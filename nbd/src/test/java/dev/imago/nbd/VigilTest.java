package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class VigilTest {
  private SocketChannel client;
  private SocketChannel socket;
  private PlainTransport transport;
  private Incoming in;

  @BeforeEach
  void connect() throws IOException {
    try (ServerSocketChannel server = ServerSocketChannel.open()) {
      server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
      client = SocketChannel.open(server.getLocalAddress());
      socket = server.accept();
    }
    transport = new PlainTransport(socket);
    var inFlight = new InFlight(1, 1, new Budget(1));
    in = new Incoming(transport, ByteBuffer.allocateDirect(16), new Farewell(transport, inFlight));
  }

  @AfterEach
  void close() throws IOException {
    client.close();
    transport.close();
  }

  @Test
  void looksForTheNextRequestOfAQuickClientOnly() throws IOException {
    Vigil vigil = new Vigil(new Semaphore(1));
    send();

    vigil.keep(in);
    assertThat(in.has(1)).as("nothing is known of it yet").isFalse();
    vigil.ended(Vigil.MOST);
    vigil.keep(in);
    assertThat(in.has(1)).as("it took its time").isFalse();
    vigil.ended(Vigil.MOST - 1);
    vigil.keep(in);
    assertThat(in.has(1)).as("it was quick").isTrue();
  }

  @Test
  void sleepsWhenThereIsNoProcessorLeft() throws IOException {
    Semaphore processors = new Semaphore(1);
    Vigil vigil = new Vigil(processors);
    vigil.ended(0);
    send();

    processors.acquireUninterruptibly();
    vigil.keep(in);
    assertThat(in.has(1)).isFalse();
    processors.release();
    vigil.keep(in);
    assertThat(in.has(1)).isTrue();
    assertThat(processors.availablePermits()).isEqualTo(1);
  }

  @Test
  void givesUpAfterAMomentAndLeavesTheSocketAsItWas() throws IOException {
    Semaphore processors = new Semaphore(1);
    Vigil vigil = new Vigil(processors);
    vigil.ended(0);

    vigil.keep(in);

    assertThat(in.has(1)).isFalse();
    assertThat(socket.isBlocking()).isTrue();
    assertThat(processors.availablePermits()).isEqualTo(1);
    send();
    assertThat(in.fill(1)).isTrue();
  }

  @Test
  void clientThatHasLeftIsFoundOutByWhoReads() throws IOException {
    Vigil vigil = new Vigil(new Semaphore(1));
    vigil.ended(0);
    client.close();

    vigil.keep(in);

    assertThat(in.has(1)).isFalse();
    assertThat(in.fill(1)).isFalse();
  }

  private void send() throws IOException {
    client.write(ByteBuffer.allocate(1));
  }
}
