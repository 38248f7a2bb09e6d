package dev.imago.crypto;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import javax.crypto.Cipher;
import javax.crypto.spec.IvParameterSpec;
import javax.crypto.spec.SecretKeySpec;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class SectorCipherTest {
  private static final HexFormat HEX = HexFormat.of();
  private static final String KEY_128 =
      "27182818284590452353602874713526" + "31415926535897932384626433832795";
  private static final String KEY_256 =
      "2718281828459045235360287471352662497757247093699959574966967627"
          + "3141592653589793238462643383279502884197169399375105820974944592";

  /**
   * IEEE 1619-2007, annex B, vectors 4 to 14 that are whole sectors: the first two blocks of each,
   * and the SHA-256 of all its bytes.
   */
  @ParameterizedTest
  @CsvSource({
    "128,0,27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c,"
        + "ebee4d64dd2395bb2d6a2d37a0a48ecb2bf4913cfc99d27c2214f2f4144715ea",
    "128,1,bbf9d6a74a7465fee20f42adf9a623fc954f3b55587e8e429eec6f71e738a390,"
        + "02cf4b5fb426b426c319e22a303be91b7c28223c9b1f0c87790f4f0060a37917",
    "128,2,6fc5047ca79b062207be6385d3b6bd4489eba3c3a53d8f1e4ff7759b19c7a9db,"
        + "61b3da898274f9f168abcd52aade271ef0a46677847aa598c1dc9061deb2d098",
    "128,253,9bc399f00564200c68ff389d37d5aa47803517c532aa516c8dc099b60d029bfa,"
        + "d9c1bf28848229b4e2d95104748f0b16ac93be15196857980e956e75e6ca2057",
    "128,254,3f843eabbe68ff5f96ff5d9cfe254295550afda1d3fc659811411ec4faa4536b,"
        + "5d229e59a703ff827ceba463714f05c132863dcbc8594bf981c0757704b476b1",
    "128,255,555f52df35547853ce1f81fc4443ed137dce0af67816811ddde3021309edaf66,"
        + "700ccd32c2679233d5fc1a32118c3f0be28565cda7af84d9e44debb3d830fa8c",
    "256,255,1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b,"
        + "e97e974fa393af794f7a4684395814cf820de60a01eaec677d87b452e316b364",
    "256,65535,77a31251618a15e6b92d1d66dffe7b50b50bad552305ba0217a610688eff7e11,"
        + "def4fad29e95dfe1a24b1ad4620f86d7be094cced5b19e0b121aa82d9e6baf98",
    "256,16777215,e387aaa58ba483afa7e8eb469778317ecf4cf573aa9d4eac23f2cdf914e4e200,"
        + "8bf44861a081dd660d91ce615b5cdfb4d5df9d72c3025c12e67cc0ae097fa5d5",
    "256,4294967295,bf53d2dade78e822a4d949a9bc6766b01b06a8ef70d26748c6a7fc36d80ae4c5,"
        + "c706140a11affda7402234f5e6331eacbfeb687d8e80d83962691823bb3636f0",
    "256,1099511627775,64497e5a831e4a932c09be3e5393376daa599548b816031d224bbf50a818ed23,"
        + "afba71abc4e95b186d89a63a5437c1bafcfd1a18ca273970c534aba4f8d05282"
  })
  void matchesTheStandardsVectors(int bits, long sector, String start, String sha256)
      throws Exception {
    ByteBuffer data = counting(SectorCipher.SECTOR);
    try (SectorCipher cipher = xts(HEX.parseHex(bits == 128 ? KEY_128 : KEY_256))) {
      cipher.encrypt(data, sector);
      assertThat(HEX.formatHex(data.array(), 0, 32)).isEqualTo(start);
      assertThat(HEX.formatHex(MessageDigest.getInstance("SHA-256").digest(data.array())))
          .isEqualTo(sha256);
      cipher.decrypt(data, sector);
    }
    assertThat(data).isEqualTo(counting(SectorCipher.SECTOR));
  }

  @ParameterizedTest
  @EnumSource(CipherSpec.Iv.class)
  void cbcIsWhatTheJdkMakesSectorBySector(CipherSpec.Iv iv) throws Exception {
    byte[] key = bytes(1, 32);
    Hash hash = iv == CipherSpec.Iv.ESSIV ? Hash.SHA256 : null;
    int sectors = 300;
    long first = 0x1_ffff_fff0L;
    ByteBuffer data = ByteBuffer.allocateDirect(sectors * SectorCipher.SECTOR);
    data.put(0, bytes(2, data.capacity()));
    try (SectorCipher cipher =
        new SectorCipher(new CipherSpec(32, CipherSpec.Mode.CBC, iv, hash), key)) {
      cipher.encrypt(data, first);
      byte[] expected = bytes(2, data.capacity());
      for (int i = 0; i < sectors; i++) {
        Cipher cbc = Cipher.getInstance("AES/CBC/NoPadding");
        cbc.init(
            Cipher.ENCRYPT_MODE,
            new SecretKeySpec(key, "AES"),
            new IvParameterSpec(vector(iv, key, first + i)));
        cbc.doFinal(
            expected,
            i * SectorCipher.SECTOR,
            SectorCipher.SECTOR,
            expected,
            i * SectorCipher.SECTOR);
      }
      assertThat(contents(data)).isEqualTo(expected);
      cipher.decrypt(data, first);
    }
    assertThat(contents(data)).isEqualTo(bytes(2, data.capacity()));
  }

  private static byte[] vector(CipherSpec.Iv iv, byte[] key, long sector) throws Exception {
    byte[] vector = new byte[16];
    int length = iv == CipherSpec.Iv.PLAIN ? 4 : 8;
    for (int i = 0; i < length; i++) {
      vector[i] = (byte) (sector >>> 8 * i);
    }
    if (iv != CipherSpec.Iv.ESSIV) {
      return vector;
    }
    Cipher cipher = Cipher.getInstance("AES/ECB/NoPadding");
    byte[] salt = MessageDigest.getInstance("SHA-256").digest(key);
    cipher.init(Cipher.ENCRYPT_MODE, new SecretKeySpec(salt, "AES"));
    return cipher.doFinal(vector);
  }

  @Test
  void longRunsAreTheSameAsTheirSectorsOneByOne() {
    try (SectorCipher cipher = xts(bytes(3, 64))) {
      ByteBuffer whole = counting(1000 * SectorCipher.SECTOR);
      cipher.encrypt(whole, 77);
      ByteBuffer parts = counting(1000 * SectorCipher.SECTOR);
      for (int i = 0; i < 1000; i++) {
        cipher.encrypt(parts.slice(i * SectorCipher.SECTOR, SectorCipher.SECTOR), 77 + i);
      }
      assertThat(parts).isEqualTo(whole);
    }
  }

  @Test
  void manyThreadsUseOneKey() throws Exception {
    try (SectorCipher cipher = xts(bytes(4, 64))) {
      List<Thread> threads = new ArrayList<>();
      List<Boolean> right = java.util.Collections.synchronizedList(new ArrayList<>());
      for (int t = 0; t < 24; t++) {
        long sector = t * 1000L;
        threads.add(
            Thread.ofPlatform()
                .start(
                    () -> {
                      ByteBuffer data = counting(64 * SectorCipher.SECTOR);
                      for (int i = 0; i < 20; i++) {
                        cipher.encrypt(data, sector);
                        cipher.decrypt(data, sector);
                      }
                      right.add(data.equals(counting(64 * SectorCipher.SECTOR)));
                    }));
      }
      for (Thread thread : threads) {
        thread.join();
      }
      assertThat(right).hasSize(24).containsOnly(true);
    }
  }

  @Test
  void closingWipesTheKeyAndEndsItsUse() {
    SectorCipher cipher = xts(bytes(5, 32));
    cipher.encrypt(counting(512), 0);
    assertThat(cipher.wiped()).isFalse();
    cipher.close();
    cipher.close();
    assertThat(cipher.wiped()).isTrue();
    assertThatIllegalStateException().isThrownBy(() -> cipher.encrypt(counting(512), 0));
    assertThatIllegalStateException().isThrownBy(cipher::key);
  }

  @Test
  void partsOfSectorsAndWrongKeysAreRefused() {
    try (SectorCipher cipher = xts(bytes(6, 32))) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> cipher.encrypt(ByteBuffer.allocate(100), 0));
    }
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new SectorCipher(CipherSpec.LEGACY_QCOW2, new byte[15]))
        .withMessageStartingWith("15 bytes of key");
  }

  private static SectorCipher xts(byte[] key) {
    return new SectorCipher(
        new CipherSpec(key.length, CipherSpec.Mode.XTS, CipherSpec.Iv.PLAIN64, null), key);
  }

  private static ByteBuffer counting(int length) {
    byte[] bytes = new byte[length];
    for (int i = 0; i < length; i++) {
      bytes[i] = (byte) i;
    }
    return ByteBuffer.wrap(bytes);
  }

  private static byte[] contents(ByteBuffer buffer) {
    byte[] bytes = new byte[buffer.capacity()];
    buffer.get(0, bytes);
    return bytes;
  }

  private static byte[] bytes(int seed, int length) {
    byte[] bytes = new byte[length];
    new Random(seed).nextBytes(bytes);
    return Arrays.copyOf(bytes, length);
  }
}
