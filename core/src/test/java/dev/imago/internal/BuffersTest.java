package dev.imago.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class BuffersTest {
  @Test
  void buffersAreDirectPageAlignedAndOfTheSizeAskedFor() {
    for (int size : new int[] {1, 511, 4096, 4097, 65536, 1 << 22, (1 << 22) + 1}) {
      try (Buffers.Lease lease = Buffers.take(size)) {
        ByteBuffer buffer = lease.buffer();
        assertThat(buffer.isDirect()).isTrue();
        assertThat(buffer.capacity()).isEqualTo(size);
        assertThat(buffer.remaining()).isEqualTo(size);
        assertThat(MemorySegment.ofBuffer(buffer).address() % Buffers.ALIGNMENT).isZero();
      }
    }
  }

  @Test
  void aBufferForGoodHasTheSizeAskedForAlsoIfThatIsLessThanAPage() {
    for (int size : new int[] {1, 512, 4096, 4097, 65536}) {
      ByteBuffer buffer = Buffers.make(size);
      assertThat(buffer.isDirect()).isTrue();
      assertThat(buffer.capacity()).isEqualTo(size);
      assertThat(buffer.remaining()).isEqualTo(size);
    }
  }

  @Test
  void twoLeasesNeverShareMemoryEvenIfOneIsClosedTwice() {
    Buffers.Lease first = Buffers.take(5000);
    first.close();
    Buffers.Lease second = Buffers.take(5000);
    first.close();
    Set<Long> addresses = new HashSet<>();
    List<Buffers.Lease> leases = new ArrayList<>(List.of(second));
    for (int i = 0; i < 50; i++) {
      leases.add(Buffers.take(5000));
    }
    for (Buffers.Lease lease : leases) {
      assertThat(addresses.add(MemorySegment.ofBuffer(lease.buffer()).address())).isTrue();
    }
    leases.forEach(Buffers.Lease::close);
  }

  @Test
  void longBuffersShareHugePagesButNoByte() {
    List<Buffers.Lease> leases = new ArrayList<>();
    for (int i = 0; i < 12; i++) {
      leases.add(Buffers.take(1 << 20));
      leases.add(Buffers.take(2 << 20));
      leases.add(Buffers.take(4 << 20));
    }
    for (int i = 0; i < leases.size(); i++) {
      ByteBuffer buffer = leases.get(i).buffer();
      for (int at = 0; at < buffer.capacity(); at += 8) {
        buffer.putLong(at, i);
      }
    }
    for (int i = 0; i < leases.size(); i++) {
      ByteBuffer buffer = leases.get(i).buffer();
      for (int at = 0; at < buffer.capacity(); at += 8) {
        if (buffer.getLong(at) != i) {
          fail("buffer %d holds %d at %d", i, buffer.getLong(at), at);
        }
      }
      assertThat(MemorySegment.ofBuffer(buffer).address() % Buffers.ALIGNMENT).isZero();
    }
    leases.forEach(Buffers.Lease::close);
  }

  @Test
  void zeroFillsFromThePositionToTheLimit() {
    for (ByteBuffer buffer :
        new ByteBuffer[] {ByteBuffer.allocate(10), ByteBuffer.allocateDirect(10)}) {
      for (int i = 0; i < 10; i++) {
        buffer.put(i, (byte) 1);
      }
      Buffers.zero(buffer.position(3).limit(7));

      assertThat(buffer.position()).isEqualTo(7);
      byte[] all = new byte[10];
      buffer.clear().get(all);
      assertThat(all).containsExactly(1, 1, 1, 0, 0, 0, 0, 1, 1, 1);
    }
  }

  @Test
  void zeroesCannotBeWrittenTo() {
    assertThat(Buffers.zeroes(10).isReadOnly()).isTrue();
    assertThat(Buffers.zeroes(10).remaining()).isEqualTo(10);
    assertThat(Buffers.zeroes(Long.MAX_VALUE).remaining()).isEqualTo(256 * 1024);
  }
}
