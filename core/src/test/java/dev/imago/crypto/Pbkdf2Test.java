package dev.imago.crypto;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Random;
import javax.crypto.SecretKeyFactory;
import javax.crypto.spec.PBEKeySpec;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class Pbkdf2Test {

  /** RFC 6070. */
  @ParameterizedTest
  @CsvSource({
    "password,salt,1,0c60c80f961f0e71f3a9b524af6012062fe037a6",
    "password,salt,2,ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957",
    "password,salt,4096,4b007901b765489abead49d926f721d065a429c1",
    "passwordPASSWORDpassword,saltSALTsaltSALTsaltSALTsaltSALTsalt,4096,"
        + "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038"
  })
  void matchesTheVectorsOfTheRfc(String password, String salt, int iterations, String key) {
    byte[] derived =
        Pbkdf2.derive(Hash.SHA1, ascii(password), ascii(salt), iterations, key.length() / 2);
    assertThat(HexFormat.of().formatHex(derived)).isEqualTo(key);
  }

  private static byte[] ascii(String text) {
    return text.getBytes(StandardCharsets.US_ASCII);
  }

  @ParameterizedTest
  @EnumSource(names = "MD5", mode = EnumSource.Mode.EXCLUDE)
  void isWhatTheJdkMakesOfCharacters(Hash hash) throws Exception {
    byte[] salt = new byte[32];
    new Random(hash.bytes).nextBytes(salt);
    String password = "x".repeat(hash.bytes * 3);
    SecretKeyFactory factory = SecretKeyFactory.getInstance("PBKDF2WithHmac" + hash.name());
    byte[] expected =
        factory
            .generateSecret(new PBEKeySpec(password.toCharArray(), salt, 100, 8 * 100))
            .getEncoded();

    assertThat(Pbkdf2.derive(hash, ascii(password), salt, 100, 100)).isEqualTo(expected);
  }

  @Test
  void stripesAreMergedToTheKeyAgain() {
    byte[] key = new byte[64];
    new Random(7).nextBytes(key);
    for (Hash hash : Hash.values()) {
      byte[] split = AntiForensic.split(hash, key, 40, new java.security.SecureRandom());
      assertThat(split).hasSize(40 * 64);
      assertThat(AntiForensic.merge(hash, split, 64, 40)).isEqualTo(key);
      split[3] ^= 1;
      assertThat(AntiForensic.merge(hash, split, 64, 40)).isNotEqualTo(key);
    }
  }
}
