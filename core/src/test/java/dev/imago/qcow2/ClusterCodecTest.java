package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.github.luben.zstd.Zstd;
import dev.imago.internal.IsaL;
import dev.imago.internal.LibDeflate;
import dev.imago.qcow2.ondisk.Header;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Random;
import java.util.zip.Deflater;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ClusterCodecTest {
  private static final int CLUSTER = 65536;

  @ParameterizedTest
  @ValueSource(ints = {Header.COMPRESSION_DEFLATE, Header.COMPRESSION_ZSTD})
  void aWholeClusterComesOutWhateverFollowsTheEncodedBytes(int type) throws Exception {
    byte[] plain = plain(CLUSTER);
    byte[] encoded = encode(type, plain);
    for (int garbage : new int[] {0, 1, 511, 3000}) {
      byte[] sectors = Arrays.copyOf(encoded, encoded.length + garbage);
      Arrays.fill(sectors, encoded.length, sectors.length, (byte) 0x5a);
      assertThat(decode(type, sectors)).isEqualTo(plain);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {Header.COMPRESSION_DEFLATE, Header.COMPRESSION_ZSTD})
  void tooFewBytesAreAnErrorNotOldMemory(int type) {
    byte[] encoded = encode(type, plain(CLUSTER));
    for (int length : new int[] {0, 1, 10, encoded.length / 2, encoded.length - 20}) {
      assertThatThrownBy(() -> decode(type, Arrays.copyOf(encoded, length)))
          .as("%d of %d bytes", length, encoded.length)
          .isInstanceOf(IOException.class);
    }
    assertThatThrownBy(() -> decode(type, encode(type, plain(CLUSTER - 1))))
        .isInstanceOf(IOException.class);
  }

  @ParameterizedTest
  @ValueSource(ints = {Header.COMPRESSION_DEFLATE, Header.COMPRESSION_ZSTD})
  void randomDamageEndsInAWholeClusterOrAnError(int type) {
    Random random = new Random(type);
    byte[] encoded = encode(type, plain(CLUSTER));
    for (int i = 0; i < 2000; i++) {
      byte[] mutant = encoded.clone();
      for (int j = random.nextInt(8); j >= 0; j--) {
        mutant[random.nextInt(mutant.length)] = (byte) random.nextInt();
      }
      try {
        assertThat(decode(type, mutant)).hasSize(CLUSTER);
      } catch (IOException e) {
        assertThat(e).hasMessageMatching("(?s).+");
      }
    }
  }

  @Test
  void aDeflateStreamThatWouldGoOnIsCutAtTheCluster() throws Exception {
    byte[] longer = plain(CLUSTER + 5000);

    assertThat(decode(Header.COMPRESSION_DEFLATE, encode(Header.COMPRESSION_DEFLATE, longer)))
        .isEqualTo(Arrays.copyOf(longer, CLUSTER));
  }

  @Test
  void afterManyClustersStreamsAreStillDecodedOrRefusedAsBefore() throws Exception {
    assertThat(LibDeflate.available()).isTrue();
    byte[] plain = plain(CLUSTER);
    byte[] encoded = encode(Header.COMPRESSION_DEFLATE, plain);
    byte[] goesOn = encode(Header.COMPRESSION_DEFLATE, plain(CLUSTER + 5000));
    byte[] tooShort = encode(Header.COMPRESSION_DEFLATE, plain(CLUSTER - 1));
    byte[] garbageBehind = Arrays.copyOf(encoded, encoded.length + 700);
    ByteBuffer out = ByteBuffer.allocateDirect(CLUSTER);
    try (ClusterCodec codec = ClusterCodec.of(Header.COMPRESSION_DEFLATE, Compression.USUAL)) {
      for (int i = 0; i < 1200; i++) {
        codec.decode(direct(encoded), out.clear());
      }
      for (byte[] stream : new byte[][] {encoded, goesOn, garbageBehind}) {
        for (boolean heap : new boolean[] {false, true}) {
          ByteBuffer cluster =
              heap ? ByteBuffer.allocate(CLUSTER) : ByteBuffer.allocateDirect(CLUSTER);
          codec.decode(direct(stream), cluster);
          assertThat(cluster.hasRemaining()).isFalse();
          assertThat(cluster.flip()).isEqualTo(ByteBuffer.wrap(plain));
        }
      }
      assertThatThrownBy(() -> codec.decode(direct(tooShort), out.clear()))
          .hasMessage("deflate stream ends after 65535 bytes; a cluster has 65536");
      assertThatThrownBy(() -> codec.decode(ByteBuffer.allocateDirect(0), out.clear()))
          .hasMessage("deflate stream ends after 0 bytes; a cluster has 65536");
    }
  }

  @Test
  void aZlibHeaderIsNoRawDeflate() {
    Deflater deflater = new Deflater();
    byte[] out = new byte[CLUSTER * 2];
    deflater.setInput(plain(CLUSTER));
    deflater.finish();
    byte[] zlib = Arrays.copyOf(out, deflater.deflate(out));
    deflater.end();

    assertThatThrownBy(() -> decode(Header.COMPRESSION_DEFLATE, zlib))
        .isInstanceOf(IOException.class);
  }

  @Test
  void severalZstdFramesMayFillACluster() throws Exception {
    byte[] plain = plain(CLUSTER);
    byte[] first = Zstd.compress(Arrays.copyOf(plain, 10_000));
    byte[] second = Zstd.compress(Arrays.copyOfRange(plain, 10_000, CLUSTER));
    byte[] both = Arrays.copyOf(first, first.length + second.length);
    System.arraycopy(second, 0, both, first.length, second.length);

    assertThat(decode(Header.COMPRESSION_ZSTD, both)).isEqualTo(plain);
  }

  @ParameterizedTest
  @ValueSource(ints = {Header.COMPRESSION_DEFLATE, Header.COMPRESSION_ZSTD})
  void aStreamThatRefersToBytesBeforeItsStartIsAnErrorAlsoWhenTheInflaterWasUsedBefore(int type)
      throws Exception {
    byte[] plain = plain(CLUSTER);
    ClusterCodec codec = ClusterCodec.of(type, Compression.USUAL);
    ByteBuffer out = ByteBuffer.allocateDirect(CLUSTER);
    codec.decode(direct(encode(type, plain)), out);

    // Deflate, fixed code: a match of length 258 at distance 1 with nothing before it. As zstd it
    // is no frame.
    byte[] crafted = {(byte) 0x1b, (byte) 0x03, 0, 0, 0, 0, 0, 0};

    assertThatThrownBy(() -> codec.decode(direct(crafted), out.clear()))
        .isInstanceOf(IOException.class);
  }

  @ParameterizedTest
  @CsvSource({
    "0,-1,false,false",
    "0,-1,false,true",
    "0,1,false,false",
    "0,22,false,false",
    "0,-1,true,false",
    "1,-1,false,false",
    "1,1,false,false"
  })
  void whatIsEncodedIsDecodedAgain(int type, int level, boolean shortWindow, boolean portable)
      throws Exception {
    assertThat(IsaL.available()).isTrue();
    ClusterCodec codec = ClusterCodec.of(type, new Compression(level, shortWindow, portable));
    for (int size = 512; size <= 2 << 20; size *= 4) {
      for (byte[] plain : new byte[][] {plain(size), new byte[size]}) {
        ByteBuffer encoded = ByteBuffer.allocateDirect(size - 1);
        assertThat(codec.encode(direct(plain), encoded)).isTrue();
        ByteBuffer out = ByteBuffer.allocate(size);
        codec.decode(encoded.flip(), out);
        assertThat(out.array()).isEqualTo(plain);
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"0,false", "0,true", "1,false"})
  void whatDoesNotFitIsSaidSo(int type, boolean shortWindow) throws Exception {
    byte[] noise = new byte[CLUSTER];
    new Random(3).nextBytes(noise);
    ClusterCodec codec = ClusterCodec.of(type, new Compression(-1, shortWindow, false));

    assertThat(codec.encode(direct(noise), ByteBuffer.allocateDirect(CLUSTER - 1))).isFalse();
    ByteBuffer exactly = ByteBuffer.allocateDirect(CLUSTER - 1);
    assertThat(codec.encode(direct(plain(CLUSTER)), exactly)).isTrue();
    int length = exactly.position();
    assertThat(codec.encode(direct(plain(CLUSTER)), ByteBuffer.allocateDirect(length - 1)))
        .isFalse();
  }

  /** Libraries in C get addresses: a byte too far would be somebody else's. */
  @ParameterizedTest
  @CsvSource({"0,-1", "0,1", "0,9", "1,-1"})
  void nothingIsWrittenBesideTheRoomThatThereIs(int type, int level) throws Exception {
    Random random = new Random(17);
    try (ClusterCodec codec = ClusterCodec.of(type, new Compression(level, false, false))) {
      for (int i = 0; i < 300; i++) {
        byte[] plain = plain(CLUSTER);
        for (int noise = random.nextInt(CLUSTER); noise > 0; noise--) {
          plain[random.nextInt(CLUSTER)] = (byte) random.nextInt();
        }
        byte[] marks = new byte[CLUSTER + 128];
        Arrays.fill(marks, (byte) 0x77);
        ByteBuffer whole = direct(marks);
        int room = random.nextInt(1, CLUSTER);
        ByteBuffer encoded = whole.slice(64, room);
        boolean fits = codec.encode(direct(plain), encoded);
        ByteBuffer mark = ByteBuffer.wrap(marks);
        assertThat(whole.slice(0, 64)).isEqualTo(mark.slice(0, 64));
        int behind = whole.capacity() - 64 - room;
        assertThat(whole.slice(64 + room, behind)).isEqualTo(mark.slice(0, behind));
        if (fits) {
          ByteBuffer out = ByteBuffer.allocate(CLUSTER);
          codec.decode(encoded.flip(), out);
          assertThat(out.array()).isEqualTo(plain);
        }
      }
    }
  }

  @Test
  void aShortWindowNeverRefersMoreThan4KiBBack() throws Exception {
    byte[] plain = new byte[CLUSTER];
    byte[] phrase = new byte[700];
    Random random = new Random(5);
    random.nextBytes(phrase);
    for (int at = 0; at + phrase.length <= CLUSTER; at += phrase.length + random.nextInt(9000)) {
      System.arraycopy(phrase, 0, plain, at, phrase.length);
    }
    for (byte[] each : new byte[][] {plain, plain(CLUSTER)}) {
      assertThat(farthest(new Compression(-1, true, false), each)).isBetween(1, 4096);
      assertThat(farthest(new Compression(9, true, false), each)).isBetween(1, 4096);
    }
    assertThat(farthest(Compression.USUAL, plain)).isGreaterThan(4096);
  }

  @ParameterizedTest
  @CsvSource({"0,-1,false", "0,-1,true", "1,-1,false", "1,1,false", "1,12,false"})
  void whatAContextWasUsedForBeforeMakesNoDifference(int type, int level, boolean shortWindow)
      throws Exception {
    Compression how = new Compression(level, shortWindow, level == 1);
    byte[] noise = new byte[CLUSTER];
    new Random(7).nextBytes(noise);
    try (ClusterCodec used = ClusterCodec.of(type, how)) {
      for (int i = 0; i < 100; i++) {
        byte[] plain = plain(CLUSTER);
        System.arraycopy(noise, 0, plain, 0, i * 600);
        byte[] encoded = encode(used, plain);
        try (ClusterCodec fresh = ClusterCodec.of(type, how)) {
          assertThat(encoded).as("cluster %d", i).isEqualTo(encode(fresh, plain));
        }
        ByteBuffer out = ByteBuffer.allocate(CLUSTER);
        used.decode(direct(encoded), out);
        assertThat(out.array()).isEqualTo(plain);

        assertThat(used.encode(direct(noise), ByteBuffer.allocateDirect(CLUSTER - 1))).isFalse();
        ByteBuffer half = direct(Arrays.copyOf(encoded, encoded.length / 2));
        assertThatThrownBy(() -> used.decode(half, ByteBuffer.allocateDirect(CLUSTER)))
            .isInstanceOf(IOException.class);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {Header.COMPRESSION_DEFLATE, Header.COMPRESSION_ZSTD})
  void aClosedCodecStillWorks(int type) throws Exception {
    ClusterCodec codec = ClusterCodec.of(type, Compression.USUAL);
    byte[] plain = plain(CLUSTER);
    byte[] before = encode(codec, plain);
    codec.close();
    codec.close();

    assertThat(encode(codec, plain)).isEqualTo(before);
    ByteBuffer out = ByteBuffer.allocate(CLUSTER);
    codec.decode(direct(before), out);
    assertThat(out.array()).isEqualTo(plain);
  }

  private static byte[] encode(ClusterCodec codec, byte[] plain) throws IOException {
    ByteBuffer encoded = ByteBuffer.allocateDirect(plain.length - 1);
    assertThat(codec.encode(direct(plain), encoded)).isTrue();
    byte[] bytes = new byte[encoded.flip().remaining()];
    encoded.get(bytes);
    return bytes;
  }

  private static int farthest(Compression how, byte[] plain) throws IOException {
    ByteBuffer encoded = ByteBuffer.allocateDirect(plain.length - 1);
    assertThat(ClusterCodec.of(0, how).encode(direct(plain), encoded)).isTrue();
    byte[] bytes = new byte[encoded.flip().remaining()];
    encoded.get(bytes);
    StrictInflater inflater = new StrictInflater(bytes);
    assertThat(inflater.inflate()).isEqualTo(plain);
    return inflater.farthest();
  }

  private static ByteBuffer direct(byte[] bytes) {
    return ByteBuffer.allocateDirect(bytes.length).put(bytes).flip();
  }

  private static byte[] decode(int type, byte[] encoded) throws IOException {
    ByteBuffer in = ByteBuffer.allocateDirect(encoded.length);
    in.put(encoded).flip();
    byte[] out = new byte[CLUSTER + 20];
    Arrays.fill(out, (byte) 0x77);
    ByteBuffer cluster = ByteBuffer.wrap(out, 10, CLUSTER);
    ClusterCodec.of(type, Compression.USUAL).decode(in, cluster);
    assertThat(cluster.hasRemaining()).isFalse();
    assertThat(out).startsWith(0x77, 0x77).endsWith(0x77, 0x77);
    return Arrays.copyOfRange(out, 10, 10 + CLUSTER);
  }

  private static byte[] encode(int type, byte[] plain) {
    if (type == Header.COMPRESSION_ZSTD) {
      return Zstd.compress(plain);
    }
    Deflater deflater = new Deflater(Deflater.DEFAULT_COMPRESSION, true);
    byte[] out = new byte[plain.length * 2];
    deflater.setInput(plain);
    deflater.finish();
    byte[] encoded = Arrays.copyOf(out, deflater.deflate(out));
    deflater.end();
    return encoded;
  }

  private static byte[] plain(int length) {
    byte[] bytes = new byte[length];
    Random random = new Random(1);
    for (int i = 0; i < length; i++) {
      bytes[i] = (byte) (random.nextInt(8) == 0 ? random.nextInt() : i >>> 4);
    }
    return bytes;
  }
}
