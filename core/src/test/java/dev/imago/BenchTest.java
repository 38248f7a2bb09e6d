package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.SyncMode;
import dev.imago.raw.Raw;
import dev.imago.storage.MemoryStorage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.FaultyStorage.Request;
import dev.imago.testing.StorageCall;
import java.io.EOFException;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.LongStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class BenchTest {
  private static final int SIZE = 1 << 20;

  private final FaultyStorage storage = new FaultyStorage(new MemoryStorage("disk"));
  private final List<Request> seen = new ArrayList<>();
  private boolean listening;

  @BeforeEach
  void fillAndListen() throws Exception {
    storage.write(ByteBuffer.wrap(Disks.random(1, SIZE)), 0);
    storage.failWhen(
        request -> {
          if (listening && request.call() != StorageCall.CLOSE) {
            seen.add(request);
          }
          return false;
        });
  }

  /** Runs it and remembers the requests until then; what closing does is not among them. */
  private long run(Bench bench) throws IOException {
    try (Image image = Raw.open(storage, true, SyncMode.FULL)) {
      listening = true;
      return bench.run(image);
    } finally {
      listening = false;
    }
  }

  private LongStream offsets(StorageCall call) {
    return seen.stream().filter(r -> r.call() == call).mapToLong(Request::hostOffset);
  }

  @Test
  void readsFollowOneAnotherByTheStepAndGoOnAtTheBeginning() throws Exception {
    assertThat(run(Bench.reads().count(300).depth(1).start(8192).length(4096).step(12288)))
        .isPositive();

    assertThat(offsets(StorageCall.READ))
        .containsExactlyElementsOf(
            LongStream.range(0, 300).map(i -> (8192 + i * 12288) % SIZE).boxed().toList());
    assertThat(seen).allMatch(request -> request.length() == 4096);
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 64, 5000})
  void everyRequestIsMadeOnceHoweverManyAreInFlight(int depth) throws Exception {
    byte[] disk;
    try (Image image = Raw.open(storage, true, SyncMode.FULL)) {
      listening = true;
      Bench.writes(7).count(256).depth(depth).run(image);
      disk = Disks.read(image);
    }
    assertThat(offsets(StorageCall.WRITEV).sorted().boxed().toList())
        .isEqualTo(LongStream.range(0, 256).map(i -> i * 4096).boxed().toList());
    byte[] sevens = new byte[SIZE];
    Arrays.fill(sevens, (byte) 7);
    assertThat(disk).isEqualTo(sevens);
  }

  @Test
  void aDrainedFlushStandsBetweenTheRequestsBeforeAndBehindIt() throws Exception {
    run(Bench.writes(1).count(20).depth(4).flushEvery(8, true));

    List<StorageCall> calls = seen.stream().map(Request::call).toList();
    assertThat(calls).filteredOn(c -> c == StorageCall.WRITEV).hasSize(20);
    assertThat(calls.get(8)).isEqualTo(StorageCall.FLUSH);
    assertThat(calls.get(17)).isEqualTo(StorageCall.FLUSH);
    assertThat(seen.subList(0, 8)).allMatch(r -> r.hostOffset() < 8 * 4096);
  }

  @Test
  void otherFlushesHoldNothingUp() throws Exception {
    run(Bench.writes(1).count(20).depth(4).flushEvery(5, false));

    assertThat(storage.calls(StorageCall.FLUSH)).isGreaterThanOrEqualTo(4);
    assertThat(offsets(StorageCall.WRITEV)).hasSize(20);
  }

  @Test
  void aRequestAcrossTheEndFailsAndSaysWhere() {
    assertThatThrownBy(() -> run(Bench.reads().count(2).depth(1).start(SIZE - 4096).step(4095)))
        .isInstanceOf(EOFException.class)
        .hasMessage(
            "disk: a request of 4096 bytes at guest offset 1048575 ends behind the disk's 1048576"
                + " bytes");
    assertThat(offsets(StorageCall.READ)).containsExactly(SIZE - 4096L);
    assertThatThrownBy(() -> run(Bench.reads().start(SIZE)))
        .isInstanceOf(EOFException.class)
        .hasMessageContaining("at guest offset 1048576");
  }

  @Test
  void aFailedRequestEndsAllOfThemThoughSomeWaitForAFlush() {
    storage.failWhen(r -> r.call() == StorageCall.WRITEV && r.hostOffset() == 9 * 4096);

    assertThatThrownBy(() -> run(Bench.writes(1).count(10_000).depth(8).flushEvery(8, true)))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("disk: Input/output error");
    assertThat(storage.calls(StorageCall.WRITEV)).isLessThan(20);
  }

  @Test
  void aFailedFlushEndsAllOfThem() {
    storage.failWhen(r -> r.call() == StorageCall.FLUSH && r.number() == 1);

    assertThatThrownBy(() -> run(Bench.writes(1).count(10_000).depth(8).flushEvery(8, true)))
        .isInstanceOf(IOException.class);
    assertThat(storage.calls(StorageCall.WRITEV)).isLessThan(20);
  }

  @Test
  void anInterruptEndsAllOfThem() {
    Thread.currentThread().interrupt();

    assertThatThrownBy(() -> run(Bench.reads().depth(4)))
        .isInstanceOf(InterruptedIOException.class);
    assertThat(Thread.interrupted()).isTrue();
  }

  @Test
  void noRequestsAreDoneAtOnceOnAnyDisk() throws Exception {
    try (Image empty = Disks.memory(new byte[0])) {
      assertThat(Bench.reads().count(0).run(empty)).isNotNegative();
      assertThatThrownBy(() -> Bench.reads().count(1).run(empty))
          .isInstanceOf(EOFException.class)
          .hasMessageContaining("a disk of 0 bytes serves no requests");
    }
  }

  @Test
  void emptyRequestsStayWhereTheyAre() throws Exception {
    run(Bench.reads().count(10).length(0));

    assertThat(seen).allMatch(r -> r.hostOffset() == 0 && r.length() == 0);
  }

  @Test
  void whatMakesNoSenseIsRefused() {
    assertThatThrownBy(() -> Bench.writes(256)).isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> Bench.reads().depth(0))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("depth 0");
    assertThatThrownBy(() -> Bench.reads().step(-1)).isInstanceOf(IllegalArgumentException.class);
  }
}
