package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.nbd.wire.NbdProtocolException;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class CoverageTest {

  @Test
  void piecesInAnyOrderMakeAWhole() throws Exception {
    Random random = new Random(1);
    for (int round = 0; round < 200; round++) {
      List<long[]> pieces = new ArrayList<>();
      for (long at = 100; at < 200; ) {
        long length = Math.min(200 - at, 1 + random.nextInt(20));
        pieces.add(new long[] {at, length});
        at += length;
      }
      Collections.shuffle(pieces, random);
      Coverage coverage = new Coverage(100, 100);
      for (long[] piece : pieces) {
        assertThatThrownBy(coverage::requireAll).isInstanceOf(NbdProtocolException.class);
        coverage.add(piece[0], piece[1]);
      }
      coverage.requireAll();
    }
  }

  @Test
  void whatIsThereAlreadyIsRefusedWhateverTheOrder() throws Exception {
    Random random = new Random(2);
    for (int round = 0; round < 2000; round++) {
      Coverage coverage = new Coverage(0, 64);
      BitSet there = new BitSet();
      for (int i = 0; i < 8; i++) {
        int at = random.nextInt(64);
        int end = at + 1 + random.nextInt(64 - at);
        if (there.get(at, end).isEmpty()) {
          coverage.add(at, end - at);
          there.set(at, end);
        } else {
          assertThatThrownBy(() -> coverage.add(at, end - at))
              .hasMessage("reply to READ: %d bytes at %d overlap others", end - at, at);
        }
      }
    }
  }

  @Test
  void whatWasNotAskedForIsRefused() {
    Coverage coverage = new Coverage(100, 100);

    for (long[] piece : new long[][] {{99, 1}, {199, 2}, {150, 0}, {-1, 101}, {150, 1L << 62}}) {
      assertThatThrownBy(() -> coverage.add(piece[0], piece[1]))
          .hasMessage(
              "reply to READ: %d bytes at %d are no part of 100 bytes at 100", piece[1], piece[0]);
    }
  }

  @Test
  void scatteringTooWidelyIsRefused() throws Exception {
    Coverage coverage = new Coverage(0, 1 << 20);
    for (int i = 0; i < Coverage.MAX_GAPS; i++) {
      coverage.add(2 * i, 1);
    }
    assertThatThrownBy(() -> coverage.add(1 << 19, 1))
        .hasMessage("reply to READ: scattered over more than 4096 pieces");
  }
}
