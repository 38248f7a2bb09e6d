package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.Magic;
import dev.imago.nbd.wire.Request;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;

/**
 * Random requests, many at once, against bytes in memory. Requests of one round never overlap, so
 * that what each reads is known.
 */
class RandomRequestsTest {
  private static final int ROUNDS = Boolean.getBoolean("imago.long") ? 3000 : 150;
  private static final long SEED = 20261127;
  private static final int SLOT = 512 << 10;

  private final Random random = new Random(SEED);
  private final byte[] oracle = new byte[Served.SIZE];

  @Test
  void rawImageKeepsWhatItWasSent() throws Exception {
    run(Served.raw(), o -> o);
  }

  @Test
  void qcow2ImageKeepsWhatItWasSent() throws Exception {
    run(Served.qcow2(), o -> o);
  }

  @Test
  void imageKeepsWhatItWasSentAlsoWithoutMemory() throws Exception {
    run(Served.qcow2(), o -> o.memory(0));
  }

  private void run(Image image, UnaryOperator<NbdServerOptions> changes) throws Exception {
    try (Served served = Served.of(image, changes);
        Peer one = Peer.using(served.address(), ReplyStyle.STRUCTURED);
        Peer two = Peer.using(served.address(), ReplyStyle.STRUCTURED)) {
      for (int round = 0; round < ROUNDS; round++) {
        round(round % 2 == 0 ? one : two, round);
      }
      ByteBuffer all = ByteBuffer.allocate(Served.SIZE);
      image.read(all, 0);
      assertThat(Arrays.equals(all.array(), oracle)).as("seed %d", SEED).isTrue();
    }
  }

  private record Asked(Request request, byte[] before) {}

  /** One request in each slot, all sent before a reply is read. */
  private void round(Peer peer, int round) throws IOException {
    Map<Long, Asked> asked = new HashMap<>();
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    for (int slot = 0; slot < Served.SIZE / SLOT; slot++) {
      Request request = request(slot);
      asked.put(request.cookie(), new Asked(request, bytes(request)));
      out.writeBytes(Peer.bytes(Request.BYTES, request::write));
      change(request, out);
    }
    byte[] sent = out.toByteArray();
    Thread sender =
        Thread.ofPlatform()
            .start(
                () -> {
                  try {
                    peer.send(ByteBuffer.wrap(sent));
                  } catch (IOException e) {
                    throw new AssertionError(e);
                  }
                });
    Map<Long, byte[]> read = new HashMap<>();
    int open = asked.size();
    while (open > 0) {
      open -= reply(peer, asked, read);
    }
    for (Map.Entry<Long, byte[]> entry : read.entrySet()) {
      assertThat(Arrays.equals(entry.getValue(), asked.get(entry.getKey()).before()))
          .as("seed %d, round %d, %s", SEED, round, asked.get(entry.getKey()).request())
          .isTrue();
    }
    try {
      sender.join();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  private Request request(int slot) {
    CommandType type =
        switch (random.nextInt(8)) {
          case 0, 1, 2 -> CommandType.READ;
          case 3, 4, 5 -> CommandType.WRITE;
          case 6 -> CommandType.WRITE_ZEROES;
          default -> CommandType.FLUSH;
        };
    long cookie = random.nextLong() << 8 | slot;
    if (type == CommandType.FLUSH) {
      return new Request(0, type.code(), cookie, 0, 0);
    }
    int unit = random.nextInt(3) == 0 ? 1 : 4096;
    int from = random.nextInt(SLOT / unit) * unit;
    int most = random.nextInt(3) == 0 ? SLOT - from : Math.min(SLOT - from, 16 << 10);
    int length = Math.max(1, (1 + random.nextInt(most)) / unit * unit);
    int flags = type != CommandType.READ && random.nextInt(4) == 0 ? CommandType.FUA : 0;
    return new Request(flags, type.code(), cookie, (long) slot * SLOT + from, length);
  }

  private byte[] bytes(Request request) {
    int from = (int) request.offset();
    return Arrays.copyOfRange(oracle, from, from + (int) request.length());
  }

  private void change(Request request, ByteArrayOutputStream out) {
    int from = (int) request.offset();
    int to = from + (int) request.length();
    if (request.type() == CommandType.WRITE.code()) {
      byte[] data = new byte[to - from];
      random.nextBytes(data);
      out.writeBytes(data);
      System.arraycopy(data, 0, oracle, from, data.length);
    } else if (request.type() == CommandType.WRITE_ZEROES.code()) {
      Arrays.fill(oracle, from, to, (byte) 0);
    }
  }

  /** Reads one piece of a reply; returns 1 if it was the last of its reply. */
  private static int reply(Peer peer, Map<Long, Asked> asked, Map<Long, byte[]> read)
      throws IOException {
    ByteBuffer start = peer.receive(4);
    if (start.getInt() == Magic.SIMPLE_REPLY) {
      ByteBuffer rest = peer.receive(12);
      assertThat(rest.getInt()).isZero();
      assertThat(asked).containsKey(rest.getLong());
      return 1;
    }
    ByteBuffer rest = peer.receive(16);
    boolean last = rest.getShort() == 1;
    int type = Short.toUnsignedInt(rest.getShort());
    long cookie = rest.getLong();
    Chunk chunk = Chunk.parse(type, peer.receive(rest.getInt()));
    Request request = asked.get(cookie).request();
    byte[] into = read.computeIfAbsent(cookie, _ -> filled((int) request.length()));
    switch (chunk) {
      case Chunk.Data data -> {
        int at = (int) (data.offset() - request.offset());
        data.content().get(into, at, data.content().remaining());
      }
      case Chunk.Hole hole -> {
        int at = (int) (hole.offset() - request.offset());
        Arrays.fill(into, at, at + (int) hole.length(), (byte) 0);
      }
      default -> throw new AssertionError(chunk);
    }
    return last ? 1 : 0;
  }

  /** What is not overwritten by a reply shows. */
  private static byte[] filled(int length) {
    byte[] bytes = new byte[length];
    Arrays.fill(bytes, (byte) 0x5a);
    return bytes;
  }
}
