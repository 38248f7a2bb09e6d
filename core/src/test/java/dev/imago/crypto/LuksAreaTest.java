package dev.imago.crypto;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.EncryptionKeyException;
import dev.imago.image.ImageFormatException;
import dev.imago.image.LuksOptions;
import dev.imago.image.Secret;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.storage.MemoryStorage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LuksAreaTest {
  private static final long AT = 0x40000;
  private static final long LENGTH = 2068480;

  private final MemoryStorage storage = new MemoryStorage("m");
  private final LuksArea area = new LuksArea(storage, AT, LENGTH);

  private static Secret secret(String text) {
    return new Secret(text.getBytes(StandardCharsets.UTF_8));
  }

  private static LuksOptions quick(Secret secret) {
    return LuksOptions.of(secret).withIterationMillis(0);
  }

  private byte[] create(String text) throws IOException {
    try (Secret secret = secret(text);
        SectorCipher cipher = area.create(quick(secret))) {
      return cipher.key();
    }
  }

  private byte[] unlock(String text) throws IOException {
    try (Secret secret = secret(text);
        SectorCipher cipher = area.unlock(secret)) {
      return cipher.key();
    }
  }

  @Test
  void aNewHeaderIsLaidOutAsQemusAndOpensWithItsPassphraseAlone() throws Exception {
    byte[] key = create("geheim");

    LuksHeader header = area.header();
    assertThat(header.info().cipher()).isEqualTo("aes-256");
    assertThat(header.info().mode()).isEqualTo("xts");
    assertThat(header.info().ivGenerator()).isEqualTo("plain64");
    assertThat(header.info().payloadOffset()).isEqualTo(LENGTH);
    assertThat(header.info().slots())
        .extracting(slot -> slot.active() + "@" + slot.keyOffset())
        .containsExactly(
            "true@4096",
            "false@262144",
            "false@520192",
            "false@778240",
            "false@1036288",
            "false@1294336",
            "false@1552384",
            "false@1810432");
    assertThat(unlock("geheim")).isEqualTo(key);
    assertThatThrownBy(() -> unlock("geheim "))
        .isInstanceOf(EncryptionKeyException.class)
        .hasMessageEndingWith("Invalid password, cannot unlock any keyslot");
  }

  @ParameterizedTest
  @CsvSource({
    "aes-128,xts,plain64,,sha1",
    "aes-192,xts,plain,,sha512",
    "aes-256,cbc,essiv,sha256,sha256",
    "aes-128,cbc,plain64,,sha384",
    "aes-128,cbc,essiv,md5,sha224"
  })
  void otherCiphersAndHashesOpenAgain(
      String cipher, String mode, String iv, String ivHash, String hash) throws Exception {
    try (Secret secret = secret("")) {
      LuksOptions options =
          quick(secret).withCipher(cipher, mode).withIv(iv, ivHash).withHash(hash);
      LuksArea small = new LuksArea(storage, AT, LuksArea.bytes(options));
      byte[] key = small.create(options).key();
      assertThat(small.unlock(secret).key()).isEqualTo(key);
      assertThat(small.header().info().cipher()).isEqualTo(cipher);
      assertThat(small.header().info().ivHash()).isEqualTo(ivHash);
    }
  }

  @Test
  void passphrasesAreBytesOfAnyLength() throws Exception {
    byte[] bytes = new byte[200];
    new Random(1).nextBytes(bytes);
    try (Secret secret = new Secret(bytes)) {
      byte[] key = area.create(quick(secret)).key();
      assertThat(area.unlock(secret).key()).isEqualTo(key);
    }
  }

  @Test
  void slotsAreAddedAndErasedButNeverTheLastOne() throws Exception {
    try (Secret first = secret("a");
        Secret second = secret("b");
        SectorCipher cipher = area.create(quick(first))) {
      assertThat(area.add(cipher, second, 5, 0)).isEqualTo(5);
      assertThat(area.add(cipher, second, -1, 0)).isEqualTo(1);
      assertThat(area.matching(second)).containsExactly(1, 5);
      assertThat(unlock("b")).isEqualTo(unlock("a")).isEqualTo(cipher.key());
      assertThatIllegalArgumentException()
          .isThrownBy(() -> area.add(cipher, second, 5, 0))
          .withMessage("Refusing to overwrite active keyslot 5 - please erase it first");

      area.erase(0, false);
      area.erase(1, false);
      assertThatThrownBy(() -> unlock("a")).isInstanceOf(EncryptionKeyException.class);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> area.erase(5, false))
          .withMessageStartingWith("Attempt to erase the only active keyslot 5");
      assertThat(unlock("b")).isEqualTo(cipher.key());
      area.erase(5, true);
      assertThatThrownBy(() -> unlock("b")).isInstanceOf(EncryptionKeyException.class);
    }
  }

  @Test
  void anErasedSlotsKeyMaterialIsOverwritten() throws Exception {
    create("a");
    ByteBuffer before = material();
    area.erase(0, true);
    ByteBuffer after = material();
    int same = 0;
    for (int i = 0; i < before.capacity(); i++) {
      same += before.get(i) == after.get(i) ? 1 : 0;
    }
    assertThat(same).isLessThan(before.capacity() / 100);
  }

  private ByteBuffer material() throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(256000);
    storage.read(bytes, AT + 4096);
    return bytes;
  }

  @Test
  void allSlotsInUseIsSaid() throws Exception {
    try (Secret secret = secret("a");
        SectorCipher cipher = area.create(quick(secret))) {
      for (int i = 1; i < LuksHeader.SLOTS; i++) {
        area.add(cipher, secret, -1, 0);
      }
      assertThatIllegalArgumentException()
          .isThrownBy(() -> area.add(cipher, secret, -1, 0))
          .withMessage("Can't add a keyslot - all keyslots are in use");
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "0|4c554b5300000001|LUKS magic at host offset 0x40000: 0x4c554b530000; it is 0x4c554b53babe",
        "0|4c554b53babe0002|LUKS version at host offset 0x40006: 2; known is 1",
        "8|74776f666973680000|cipher-name at host offset 0x40008: 'twofish'; known is aes",
        "40|6563620000000000000000|cipher-mode at host offset 0x40028: 'ecb'; known are xts and cbc",
        "40|6362632d65737369763a736861313a|cipher-mode at host offset 0x40028: 'cbc-essiv:sha1:'",
        "72|726970656d6431363000|hash-spec at host offset 0x40048: 'ripemd160'; known are",
        "108|ffffffff|key-bytes at host offset 0x4006c: 4294967295; 16 to 64",
        "108|00000020|Invalid password",
        "164|ffffffff|mk-digest-iter at host offset 0x400a4: 4294967295; 1 to 33554432",
        "164|00000000|mk-digest-iter at host offset 0x400a4: 0; 1 to",
        "208|00000000|key slot 0 state at host offset 0x400d0: 0x00000000; 0x00ac71f3 (active)",
        "212|7fffffff|key slot 0 iterations at host offset 0x400d4: 2147483647; 1 to 33554432",
        "248|ffffffff|key slot 0 offset at host offset 0x400f8: sector 4294967295; key material",
        "248|00000000|key slot 0 offset at host offset 0x400f8: sector 0; key material",
        "296|00000008|key slot 1 offset at host offset 0x40128: sector 8; that is key material of",
        "252|7fffffff|key slot 0 stripes at host offset 0x400fc: 2147483647; always 4000"
      })
  void hostileValuesEndInTypedErrorsAtOnce(int at, String hex, String message) throws Exception {
    create("a");
    storage.write(ByteBuffer.wrap(java.util.HexFormat.of().parseHex(hex)), AT + at);
    assertThatThrownBy(() -> unlock("a"))
        .isInstanceOfAny(
            ImageFormatException.class,
            UnsupportedFeatureException.class,
            EncryptionKeyException.class)
        .hasMessageContaining(message);
  }

  @Test
  void mutantsOfAHeaderEndInRecordsOrTypedErrors() throws Exception {
    create("a");
    byte[] bytes = new byte[LuksHeader.BYTES];
    storage.read(ByteBuffer.wrap(bytes), AT);
    long seed = System.nanoTime();
    Random random = new Random(seed);
    for (int i = 0; i < (Boolean.getBoolean("imago.long") ? 1_000_000 : 20_000); i++) {
      byte[] mutant = bytes.clone();
      for (int j = random.nextInt(4); j >= 0; j--) {
        mutant[random.nextInt(mutant.length)] = (byte) random.nextInt(256);
      }
      try {
        LuksHeader header = LuksHeader.parse(ByteBuffer.wrap(mutant), AT, LENGTH, "m");
        assertThat(header.info().slots()).as("seed %d", seed).hasSize(8);
      } catch (ImageFormatException | UnsupportedFeatureException e) {
        assertThat(e).as("seed %d", seed).hasMessageStartingWith("m: ");
      }
    }
  }

  @Test
  void aHeaderIsWrittenBackByteForByte() throws Exception {
    create("a");
    ByteBuffer bytes = ByteBuffer.allocate(LuksHeader.BYTES);
    storage.read(bytes, AT);
    ByteBuffer again = ByteBuffer.allocate(LuksHeader.BYTES);
    area.header().write(again);
    assertThat(again.flip()).isEqualTo(bytes.flip());
  }

  @Test
  void wrongOptionsAreRefused() {
    try (Secret secret = secret("a")) {
      LuksOptions options = LuksOptions.of(secret);
      for (LuksOptions wrong :
          List.of(
              options.withCipher("serpent-256", "xts"),
              options.withCipher("aes-256", "ecb"),
              options.withCipher("aes-192", "cbc"),
              options.withIv("essiv", null),
              options.withIv("plain64", "sha256"),
              options.withHash("ripemd160"))) {
        assertThatIllegalArgumentException().isThrownBy(() -> LuksArea.validate(wrong));
      }
    }
  }

  @Test
  void secretsDoNotShowAndAreWiped() {
    Secret secret = secret("geheim");
    assertThat(secret).hasToString("Secret");
    secret.close();
    secret.close();
    assertThatThrownBy(secret::copy).isInstanceOf(IllegalStateException.class);
  }
}
