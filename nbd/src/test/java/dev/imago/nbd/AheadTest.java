package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.SimpleReply;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.storage.StorageOver;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class AheadTest {
  private static final int BLOCK = 512;
  private static final long BAD = 3 * BLOCK;

  private Disk disk;
  private Served served;
  private Peer peer;

  /** Has nothing at hand, but tells the device what will be read. */
  private static final class Disk extends StorageOver {
    final Set<Long> prefetched = ConcurrentHashMap.newKeySet();
    final Set<Thread> readers = ConcurrentHashMap.newKeySet();
    final AtomicBoolean atHand = new AtomicBoolean(true);
    final AtomicBoolean broken = new AtomicBoolean();

    /** Whether the pool's looks for what is at hand fail. */
    final AtomicBoolean looksFail = new AtomicBoolean();

    Disk() throws IOException {
      super(new MemoryStorage("disk"));
      below.resize(Served.SIZE, Storage.Preallocation.OFF);
      for (long at = 0; at < 64 * BLOCK; at += BLOCK) {
        below.write(ByteBuffer.allocate(BLOCK).putLong(0, at + 1), at);
      }
    }

    @Override
    public boolean prefetch(long hostOffset, long length) {
      prefetched.add(hostOffset);
      return true;
    }

    @Override
    public boolean readNow(ByteBuffer dst, long hostOffset) throws IOException {
      boolean pool = !Thread.currentThread().getName().startsWith("imago-nbd-client-");
      if (pool && looksFail.get()) {
        throw new IOException("bad sector");
      }
      if (atHand.get()) {
        below.read(dst, hostOffset);
      }
      return atHand.get();
    }

    @Override
    public void read(ByteBuffer dst, long hostOffset) throws IOException {
      readers.add(Thread.currentThread());
      if (broken.get() && hostOffset == BAD) {
        throw new IOException("bad sector");
      }
      super.read(dst, hostOffset);
    }
  }

  @BeforeEach
  void serve() throws IOException {
    disk = new Disk();
    served = Served.of(Served.raw(disk));
    peer = Peer.using(served.address(), ReplyStyle.SIMPLE);
    // From now on the host's cache is known to be in use.
    peer.request(CommandType.READ, 0, 99, 0, BLOCK);
    assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 99));
    peer.receive(BLOCK);
    disk.atHand.set(false);
    disk.readers.clear();
  }

  @AfterEach
  void end() throws IOException {
    peer.close();
    served.close();
  }

  @Test
  void readsThatComeTogetherAreLookedForTogetherAndHaveOneThread() throws IOException {
    peer.send(reads(12));

    Map<Long, Integer> errors = answers(12);

    assertThat(errors).hasSize(12).doesNotContainValue(NbdError.EIO.code());
    assertThat(disk.prefetched).hasSize(12);
    assertThat(disk.readers).hasSize(1);
  }

  @Test
  void aReadThatComesAloneIsLeftToThePoolAtOnce() throws IOException {
    peer.send(reads(1));

    assertThat(answers(1)).hasSize(1);
    assertThat(disk.prefetched).isEmpty();
  }

  @Test
  void oneThatFailsDoesNotHarmTheOthers() throws IOException {
    disk.broken.set(true);
    peer.send(reads(40));

    Map<Long, Integer> errors = answers(40);

    assertThat(errors).containsEntry(BAD / BLOCK, NbdError.EIO.code());
    errors.remove(BAD / BLOCK);
    assertThat(errors).hasSize(39).doesNotContainValue(NbdError.EIO.code());
  }

  /** The client had two answers to one request. */
  @Test
  void aLookForTheCacheThatFailsAfterTheAnswerIsNotToldToTheClient() throws IOException {
    peer.close();
    served.close();
    disk = new Disk();
    disk.atHand.set(false);
    disk.looksFail.set(true);
    served = Served.of(Served.raw(disk));
    peer = Peer.using(served.address(), ReplyStyle.SIMPLE);
    for (int i = 0; i < 4; i++) {
      peer.send(reads(1));

      assertThat(answers(1)).containsExactly(Map.entry(0L, 0));
    }
  }

  @Test
  void thoseAheadOfABrokenProtocolAreDoneWithBeforeTheConnectionEnds() throws IOException {
    ByteBuffer reads = reads(5);
    ByteBuffer all = ByteBuffer.allocate(reads.remaining() + Request.BYTES).put(reads);
    all.position(all.limit()); // zeroes are no request
    peer.send(all.flip());

    answers(5);
    peer.awaitHangup();
  }

  private static ByteBuffer reads(int count) {
    ByteBuffer reads = ByteBuffer.allocate(count * Request.BYTES);
    for (int i = 0; i < count; i++) {
      new Request(0, CommandType.READ.code(), i, (long) i * BLOCK, BLOCK).write(reads);
    }
    return reads.flip();
  }

  /** Error by cookie; the data is what was asked for. */
  private Map<Long, Integer> answers(int count) throws IOException {
    Map<Long, Integer> errors = new HashMap<>();
    for (int i = 0; i < count; i++) {
      SimpleReply reply = peer.simpleReply();
      errors.put(reply.cookie(), reply.error());
      if (reply.error() == 0) {
        assertThat(peer.receive(BLOCK).getLong(0)).isEqualTo(reply.cookie() * BLOCK + 1);
      }
    }
    return errors;
  }
}
