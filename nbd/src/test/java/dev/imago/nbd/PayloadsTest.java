package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class PayloadsTest {
  private final Payloads payloads = new Payloads(Payloads.KEPT);

  @Test
  void bufferIsAsLongAsAskedAndUsedAgain() {
    ByteBuffer first;
    try (Payloads.Payload payload = payloads.take(5000)) {
      first = payload.buffer();
      assertThat(first.remaining()).isEqualTo(5000);
      first.put(0, (byte) 7);
    }
    assertThat(payloads.idleBytes()).isEqualTo(8192);
    try (Payloads.Payload payload = payloads.take(8192)) {
      assertThat(payload.buffer().get(0)).isEqualTo((byte) 7);
      assertThat(payloads.idleBytes()).isZero();
    }
  }

  @Test
  void closingTwiceGivesBackOnce() {
    Payloads.Payload payload = payloads.take(1);
    payload.close();
    payload.close();

    assertThat(payloads.idleBytes()).isEqualTo(4096);
  }

  @Test
  void whatNobodyUsesIsLimitedAndTheRestIsFreedAtOnce() {
    List<Payloads.Payload> many = new ArrayList<>();
    for (int i = 0; i < 5; i++) {
      many.add(payloads.take(32 << 20));
    }
    many.forEach(Payloads.Payload::close);

    assertThat(payloads.idleBytes()).isEqualTo(Payloads.KEPT);
    ByteBuffer freed = many.getLast().buffer();
    assertThatThrownBy(() -> freed.get(0)).isInstanceOf(IllegalStateException.class);
    payloads.clear();
    assertThat(payloads.idleBytes()).isZero();
  }
}
